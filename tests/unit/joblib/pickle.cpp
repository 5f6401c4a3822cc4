// SPDX-License-Identifier: MIT
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>

#include <forkmap/detail/joblib/pickle.hpp>
#include <forkmap/error.hpp>

#include "support/catch.hpp"

namespace fm = forkmap;
using namespace forkmap::detail;
using namespace std::string_literals;
using Catch::Matchers::ContainsSubstring;

namespace {

std::filesystem::path const pickle_file = "a.pkl";

/// A source whose bytes become available a few at a time, like those of a long file.
class source_in_memory final : public byte_source {
 public:
  explicit source_in_memory(std::string_view bytes, std::size_t known = 16)
      : byte_source(pickle_file, bytes.size(), bytes.substr(0, known)), bytes_(bytes) {}
  void read(std::size_t offset, std::span<char> out) const override {
    REQUIRE(offset + out.size() <= bytes_.size());
    if (!out.empty()) std::memcpy(out.data(), bytes_.data() + offset, out.size());
    read_bytes += out.size();
  }
  mutable std::size_t read_bytes = 0;

 private:
  std::string_view bytes_;
};

pickle_tree<> run(std::string const& opcodes) {
  return pickle_machine(source_in_memory("\x80\4" + opcodes + ".")).run();
}

/// The scalar that these opcodes make.
pickle_value value(std::string const& opcodes) {
  auto const tree = run(opcodes);
  return tree[tree.root];
}

std::string text(std::string const& opcodes) {
  auto const tree = run(opcodes);
  return std::string(tree.text(tree.root));
}

/// The items of a container, each as the first letter of its kind, or as its integer.
std::string items(std::string const& opcodes) {
  auto const tree = run(opcodes);
  std::string result;
  for (auto at = tree.items(tree.root); !at.done();) {
    auto const& item = tree[at.next()];
    if (!result.empty()) result += ' ';
    if (item.kind == pickle_kind::integer) result += std::to_string(item.integer());
    if (item.kind == pickle_kind::none) result += "None";
    if (item.kind == pickle_kind::text) result += tree.text(item);
    if (item.is_container()) result += "container";
  }
  return result;
}

std::string refusal(std::string const& opcodes) {
  try {
    run(opcodes);
  } catch (fm::format_error const& error) {
    return error.what();
  }
  return {};
}

/// numpy.dtype('f8'), little-endian.
std::string dtype_f8(std::string const& code = "\x8c\2f8", std::string const& order = "<") {
  return "\x8c\5numpy\x8c\5dtype\x93" + code + "\x89\x88\x87R(K\3\x8c\1" + order +
         "NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"s;
}

std::string wrapper(std::string const& attributes) {
  return "\x8c\x13joblib.numpy_pickle\x8c\x11NumpyArrayWrapper\x93)\x81}(" + attributes + "ub";
}

}  // namespace

TEST_CASE("pickle: every opcode for numbers is read", "[array]") {
  CHECK(value("N").kind == pickle_kind::none);
  CHECK(value("\x88").bits == 1);
  CHECK(value("\x89").bits == 0);
  CHECK(value("K\xff").integer() == 255);
  CHECK(value("M\xff\xff").integer() == 65535);
  CHECK(value("J\xff\xff\xff\xff").integer() == -1);
  CHECK(value("J\0\0\0\x80"s).integer() == -2147483648LL);
  CHECK(value("\x8a\0"s).integer() == 0);
  CHECK(value("\x8a\1\xff").integer() == -1);
  CHECK(value("\x8a\3\0\0\x80"s).integer() == -8388608);
  CHECK(value("\x8a\x08\0\0\0\0\0\0\0\x80"s).integer() == std::numeric_limits<std::int64_t>::min());
  auto const natural = value("\x8a\x09\0\0\0\0\0\0\0\x80\0"s);
  CHECK(natural.kind == pickle_kind::natural);
  CHECK(natural.bits == std::uint64_t{1} << 63U);
  CHECK(value("\x8a\x09\0\0\0\0\0\0\0\0\1"s).kind == pickle_kind::large_integer);
  CHECK(value("\x8a\x09\0\0\0\0\0\0\0\x80\xff"s).integer() ==
        std::numeric_limits<std::int64_t>::min());
  CHECK(value("\x8a\x09\1\0\0\0\0\0\0\0\0"s).integer() == 1);
  CHECK(value("\x8a\x09\0\0\0\0\0\0\0\0\xff"s).kind == pickle_kind::large_integer);
  CHECK(value("\x8b\2\0\0\0\1\2"s).integer() == 513);
  CHECK(value("\x8b\0\2\0\0"s + std::string(512, 'x')).kind == pickle_kind::large_integer);
  CHECK(value("G\x40\4\0\0\0\0\0\0"s).real() == 2.5);
}

TEST_CASE("pickle: every opcode for texts and bytes is read", "[array]") {
  CHECK(text("\x8c\2ab") == "ab");
  CHECK(text("X\2\0\0\0ab"s) == "ab");
  CHECK(text("\x8d\2\0\0\0\0\0\0\0ab"s) == "ab");
  CHECK(text("U\2ab") == "ab");
  CHECK(text("T\2\0\0\0ab"s) == "ab");
  CHECK(value("\x8c\2\xc3\xa4").kind == pickle_kind::text);
  CHECK(value("U\2\xff\xfe").kind == pickle_kind::bytes);
  for (auto const& opcodes :
       {"C\2ab"s, "B\2\0\0\0ab"s, "\x8e\2\0\0\0\0\0\0\0ab"s, "\x96\2\0\0\0\0\0\0\0ab"s}) {
    CHECK(text(opcodes) == "ab");
    CHECK(value(opcodes).kind == pickle_kind::bytes);
  }
  std::string const longer(100000, 'x');
  CHECK(text("X\xa0\x86\1\0"s + longer) == longer);
}

TEST_CASE("pickle: every opcode for containers is read", "[array]") {
  CHECK(items(")").empty());
  CHECK(items("K\1\x85") == "1");
  CHECK(items("K\1K\2\x86") == "1 2");
  CHECK(items("K\1K\2K\3\x87") == "1 2 3");
  CHECK(items("(K\1K\2K\3K\4t") == "1 2 3 4");
  CHECK(items("](K\1K\2e") == "1 2");
  CHECK(items("]K\1aK\2a(K\3e(e") == "1 2 3");
  CHECK(items("(K\1K\2l") == "1 2");
  CHECK(items("}K\1K\2s(K\3NK\4Nu") == "1 2 3 None 4 None");
  CHECK(items("(K\1K\2d") == "1 2");
  CHECK(items("\x8f(K\1K\2\x90") == "1 2");
  CHECK(items("(K\1K\2\x91") == "1 2");
  CHECK(value("}K\1K\2sK\3Ns").size == 2);
}

TEST_CASE("pickle: the opcodes for the stack itself are read", "[array]") {
  CHECK(items("K\1K\0000K\2\x86"s) == "1 2");                        // POP
  CHECK(items("K\1(K\5K\0061K\2\x86"s) == "1 2");                    // POP_MARK
  CHECK(items("K\1(0K\2\x86"s) == "1 2");                            // POP of a mark
  CHECK(items("K\0012\x86"s) == "1 1");                              // DUP
  CHECK(value("\x95\1\0\0\0\0\0\0\0N"s).kind == pickle_kind::none);  // FRAME
}

TEST_CASE("pickle: MEMOIZE continues after the entries of the memo", "[array]") {
  CHECK(items("](K\1\x94K\2\x94h\0h\1e"s) == "1 2 1 2");
  CHECK(items("](K\1q\0K\2q\1h\0h\1e"s) == "1 2 1 2");
  CHECK(items("](K\1r\0\0\0\0K\2\x94j\0\0\0\0j\1\0\0\0e"s) == "1 2 1 2");
  // A second PUT with the same index replaces the entry, and MEMOIZE continues after it.
  CHECK(items("](K\1q\0K\2q\0K\3\x94h\0h\1e"s) == "1 2 3 2 3");
  std::string many = "](";
  for (int i = 0; i < 300; ++i) many += "K\1\x94";
  CHECK(value(many + "j\x2b\1\0\0e"s).size == 301);
}

TEST_CASE("pickle: a truncated file or too small a stack is an error that names the offset",
          "[array]") {
  CHECK_THROWS_WITH(pickle_machine(source_in_memory("\x80\4K")).run(),
                    ContainsSubstring("a.pkl: at byte 3: the file ends inside its pickle"));
  CHECK_THAT(refusal("X\xff\xff\xff\x7f"),
             ContainsSubstring("at byte 7: the pickle needs 2147483647"));
  CHECK_THAT(refusal("\x8d\xff\xff\xff\xff\xff\xff\xff\xff"),
             ContainsSubstring("needs 18446744073709551615 bytes"));
  CHECK_THAT(refusal("\x8b\xff\xff\xff\xff"), ContainsSubstring("needs 4294967295 bytes"));
  CHECK_THAT(refusal(""), ContainsSubstring("at byte 2: the pickle does not end with"));
  CHECK_THAT(refusal("NN"), ContainsSubstring("does not end with exactly one value"));
  CHECK_THAT(refusal("(N"), ContainsSubstring("does not end with exactly one value"));
  CHECK_THAT(refusal("("), ContainsSubstring("does not end with exactly one value"));
  for (auto const* opcodes : {"0", "2", "a", "Na", "\x85", "N\x86", "(N\x87", "]s", "}Ns", "(Na",
                              "](Na", "\x94", "R", "NR", "b", "N(Nb", "\x93"}) {
    INFO(opcodes);
    CHECK_THAT(refusal(opcodes),
               ContainsSubstring("more values than there are on the stack") ||
                   ContainsSubstring("needs a container, but there is none on the stack"));
  }
  for (auto const* opcodes : {"t", "e", "u", "l", "d", "1", "\x90", "\x91"}) {
    CHECK_THAT(refusal(opcodes), ContainsSubstring("needs a mark, but there is none on the stack"));
  }
  for (auto const* opcodes : {"NNa", "}Na", "]NNs", ")(e", "N(e", "](\x90", "}(e"}) {
    INFO(opcodes);
    CHECK_THAT(refusal(opcodes), ContainsSubstring("a value that is not such a container"));
  }
  CHECK_THAT(refusal("}(Nu"), ContainsSubstring("a key without a value"));
  CHECK_THAT(refusal("(Nd"), ContainsSubstring("a key without a value"));
}

TEST_CASE("pickle: a missing or impossible entry of the memo is refused", "[array]") {
  CHECK_THAT(refusal("h\0"s), ContainsSubstring("memo entry 0 has not been stored"));
  CHECK_THAT(refusal("Nq\3h\2"s), ContainsSubstring("memo entry 2 has not been stored"));
  CHECK_THAT(refusal("Nj\xff\xff\xff\xff"), ContainsSubstring("memo entry 4294967295 has"));
  CHECK_THAT(refusal("Nr\xff\xff\xff\xff"),
             ContainsSubstring("memo index 4294967295 is too large"));
}

TEST_CASE("pickle: opcodes for objects, and obsolete opcodes, are refused by name", "[array]") {
  for (auto const* opcodes :
       {"I1\n", "F1\n", "L1L\n", "S'a'\n", "Va\n", "g0\n", "Np0\n", "(ia\nb\n"}) {
    CHECK_THAT(refusal(opcodes), ContainsSubstring("protocol 0 or 1"));
  }
  for (auto const* opcodes :
       {"P1\n", "NQ", "(o", "NNN\x92", "\x82\1", "\x83\1\1", "\x84\1\1\1\1"}) {
    CHECK_THAT(refusal(opcodes), ContainsSubstring("makes Python objects"));
  }
  CHECK_THAT(refusal("\x97"), ContainsSubstring("buffer from outside the file"));
  CHECK_THAT(refusal("N\x98"), ContainsSubstring("buffer from outside the file"));
  CHECK_THAT(refusal("\xff"), ContainsSubstring("opcode 0xff is not an opcode of pickle"));
  CHECK_THAT(refusal("\x80\6"), ContainsSubstring("protocol 6 is not supported; 2 to 5 are"));
  CHECK_THAT(refusal("\x80\1"), ContainsSubstring("protocol 1 is not supported"));
}

TEST_CASE("pickle: only the classes of arrays are accepted, and an error names the class",
          "[array]") {
  CHECK_THAT(refusal("cos\nsystem\n"),
             ContainsSubstring("'system' of the Python module 'os'") &&
                 ContainsSubstring("can run code") &&
                 ContainsSubstring("convert it to a list, dict or array before joblib.dump"));
  CHECK_THAT(refusal("\x8c\2os\x8c\6system\x93\x8c\2id\x85R"), ContainsSubstring("'system'"));
  CHECK_THAT(refusal("\x8c\x08"
                     "builtins\x8c\4eval\x93"),
             ContainsSubstring("'eval'"));
  CHECK_THAT(refusal("cnumpy.core.multiarray\n_reconstruct\n"),
             ContainsSubstring("a plain pickle of a NumPy array") &&
                 ContainsSubstring("joblib.dump the array instead"));
  CHECK_THAT(refusal("cjoblib.numpy_pickle_compat\nNDArrayWrapper\n"),
             ContainsSubstring("joblib 0.9 or older"));
  CHECK_THAT(refusal("cjoblib.numpy_pickle\nZNDArrayWrapper\n"),
             ContainsSubstring("joblib 0.9 or older"));
  CHECK_THAT(refusal("NN\x93"), ContainsSubstring("the name of a class is not a text"));
  CHECK_THAT(refusal("c" + std::string(300, 'x')), ContainsSubstring("more than 256 characters"));
  CHECK_THAT(refusal("N)R"), ContainsSubstring("calls a value that is not a class"));
  CHECK_THAT(refusal("cnumpy\nndarray\n)R"),
             ContainsSubstring("arguments that joblib does not write"));
  CHECK_THAT(refusal("cnumpy\nndarray\n)\x81"),
             ContainsSubstring("arguments that joblib does not"));
  CHECK_THAT(refusal("ccollections\nOrderedDict\n]\x85R"), ContainsSubstring("arguments that"));
  CHECK_THAT(refusal("]}b"), ContainsSubstring("sets the state of a value that has none"));
}

TEST_CASE("pickle: values that old protocols write as calls are read", "[array]") {
  auto const bytes = run("c_codecs\nencode\n\x8c\3\xc3\xbfq\x8c\6latin1\x86R"s);
  CHECK(pickled_bytes(bytes, bytes[bytes.root]) == "\xffq");
  CHECK(value("c__builtin__\nbytes\n)R").kind == pickle_kind::bytes);
  CHECK(text("cbuiltins\nbytearray\nC\1q\x85R") == "q");
  CHECK(items("c__builtin__\nset\n](K\1K\2e\x85R") == "1 2");
  CHECK(value("cbuiltins\nfrozenset\n)R").kind == pickle_kind::set);
  CHECK(items("ccollections\nOrderedDict\n)R(K\1K\2u") == "1 2");
  CHECK_THAT(refusal("c_codecs\nencode\n\x8c\1q\x8c\5utf-8\x86R"),
             ContainsSubstring("arguments that"));
}

TEST_CASE("pickle: NumPy's scalars are read", "[array]") {
  auto const scalar = [](std::string const& dtype, std::string const& bytes) {
    return "cnumpy.core.multiarray\nscalar\n" + dtype + "C" +
           std::string(1, static_cast<char>(bytes.size())) + bytes + "\x86R";
  };
  CHECK(value(scalar(dtype_f8(), "\0\0\0\0\0\0\4\x40"s)).real() == 2.5);
  CHECK(value(scalar(dtype_f8("\x8c\2f8", ">"), "\x40\4\0\0\0\0\0\0"s)).real() == 2.5);
  CHECK(value(scalar(dtype_f8("\x8c\2f4"), "\0\0\x20\x40"s)).real() == 2.5);
  CHECK(value(scalar(dtype_f8("\x8c\2i2"), "\xfe\xff")).integer() == -2);
  CHECK(value(scalar(dtype_f8("\x8c\2u2"), "\xfe\xff")).integer() == 65534);
  CHECK(value(scalar(dtype_f8("\x8c\2u8"), "\xff\xff\xff\xff\xff\xff\xff\xff")).kind ==
        pickle_kind::natural);
  CHECK(value(scalar(dtype_f8("\x8c\2b1", "|"), "\1")).kind == pickle_kind::boolean);
  CHECK_THAT(refusal(scalar(dtype_f8(), "\0\0"s)),
             ContainsSubstring("NumPy scalar of dtype '<f8'"));
  CHECK_THAT(refusal(scalar(dtype_f8("\x8c\2"
                                     "c8"),
                            "\0\0\0\0\0\0\4\x40"s)),
             ContainsSubstring("make it a Python number"));
}

TEST_CASE("pickle: NumPy's texts become UTF-8, within a limit set by the size of the file",
          "[array]") {
  auto const made = [](std::string const& dtype, std::string const& bytes) {
    return "cnumpy.core.multiarray\nscalar\n" + dtype + bytes + "\x86R";
  };
  auto const u2 = dtype_f8("\x8c\2U2");
  CHECK(text(made(u2, "C\10a\0\0\0\xe4\0\0\0"s)) == "a\xc3\xa4");
  CHECK(text(made(dtype_f8("\x8c\2U2", ">"), "C\10\0\0\0a\0\0\0\xe4"s)) == "a\xc3\xa4");
  CHECK(text(made(dtype_f8("\x8c\2S2", "|"), "C\2a\xff")) == "a\xff");
  CHECK_THAT(refusal(made(u2, "C\4a\0\0\0"s)), ContainsSubstring("NumPy scalar of dtype '<U2'"));
  CHECK_THAT(refusal(made(u2, "K\4")), ContainsSubstring("NumPy scalar of dtype '<U2'"));
  // One text of 1 MB that is made again by every five bytes.
  std::string again =
      "cnumpy.core.multiarray\nscalar\n\x94"
      "0" +
      dtype_f8("\x8c\7U250000") +
      "\x94"
      "0B\x40\x42\x0f\0"s +
      std::string(1'000'000, '\0') +
      "\x94"
      "0](";
  for (int i = 0; i < 3; ++i) again += "h\0h\1h\2\x86R"s;
  CHECK_THAT(refusal(again + "e"), ContainsSubstring("for too many NumPy texts"));
}

TEST_CASE("pickle: the data of an array is skipped, not read", "[array]") {
  auto const head =
      "\x80\4]" + wrapper("\x8c\5shapeM\x88\x13\x85\x8c\5order\x8c\1C\x8c\5dtype" + dtype_f8());
  auto const all = head + std::string(5000 * 8, '\xff') + "aK\1a.";
  source_in_memory const source(all);
  auto const tree = pickle_machine(source).run();
  CHECK(tree[tree.root].size == 2);
  auto const& array = tree.array(tree[tree.items(tree.root).next()]);
  CHECK(array.offset == head.size());
  CHECK(array.bytes == 40000);
  CHECK(source.read_bytes < 4000);
}

TEST_CASE("pickle: the memo entry of a wrapper is the wrapper, not its array", "[array]") {
  auto const attributes = "\x8c\5shapeK\1\x85\x8c\5order\x8c\1C\x8c\5dtype" + dtype_f8();
  auto const tree =
      run("]("
          "\x8c\x13joblib.numpy_pickle\x8c\x11NumpyArrayWrapper\x93)\x81\x94}(" +
          attributes + "ub" + std::string(8, 'x') + "h\0e"s);
  auto at = tree.items(tree.root);
  CHECK(tree[at.next()].kind == pickle_kind::array);
  CHECK(tree[at.next()].kind == pickle_kind::wrapper);
}

TEST_CASE("pickle: an array may be referenced several times", "[array]") {
  auto const attributes = "\x8c\5shapeK\1\x85\x8c\5order\x8c\1C\x8c\5dtype" + dtype_f8();
  auto const tree = run("](" + wrapper(attributes) + std::string(8, 'x') + "\x94h\0e"s);
  auto at = tree.items(tree.root);
  auto const first = at.next();
  CHECK(tree[first].kind == pickle_kind::array);
  CHECK(at.next() == first);
}

TEST_CASE("pickle: invalid wrappers are refused", "[array]") {
  auto const shape = "\x8c\5shapeK\1\x85"s;
  auto const order = "\x8c\5order\x8c\1C"s;
  auto const type = "\x8c\5dtype" + dtype_f8();
  auto const eight = std::string(8, 'x');
  CHECK(refusal(wrapper(shape + order + type) + eight).empty());
  CHECK_THAT(refusal(wrapper(order + type) + eight),
             ContainsSubstring("lacks shape, order or dtype"));
  CHECK_THAT(refusal(wrapper(shape + type) + eight),
             ContainsSubstring("lacks shape, order or dtype"));
  CHECK_THAT(refusal(wrapper(shape + order) + eight),
             ContainsSubstring("lacks shape, order or dtype"));
  CHECK_THAT(refusal(wrapper(shape + "\x8c\5order\x8c\1K" + type) + eight),
             ContainsSubstring("neither order"));
  CHECK_THAT(refusal(wrapper("\x8c\5shapeJ\xff\xff\xff\xff\x85" + order + type) + eight),
             ContainsSubstring("non-negative integers"));
  CHECK_THAT(refusal(wrapper("\x8c\5shape](K\1e" + order + type) + eight),
             ContainsSubstring("the shape of an array is not a tuple"));
  CHECK_THAT(refusal(wrapper("\x8c\5shapeK\2\x85" + order + type) + eight),
             ContainsSubstring("dims (2,) of '<f8'") && ContainsSubstring("left in the file"));
  CHECK_THAT(
      refusal(wrapper("\x8c\5shape\x8a\x08\0\0\0\0\0\0\0\x40\x8a\x08\0\0\0\0\0\0\0\x40\x86"s +
                      order + type) +
              eight),
      ContainsSubstring("left in the file"));
  CHECK_THAT(refusal(wrapper(shape + order + "\x8c\5dtype" + dtype_f8("\x8c\2O8", "|")) + eight),
             ContainsSubstring("Python objects (dtype 'O')"));
  CHECK_THAT(refusal(wrapper(shape + order + type +
                             "\x8c\x0a"
                             "allow_mmap\x89") +
                     eight),
             ContainsSubstring("Python objects (dtype 'O')"));
  CHECK_THAT(refusal(wrapper(shape + order + "\x8c\5dtype" + dtype_f8("\x8c\2q8")) + eight),
             ContainsSubstring("unknown dtype 'q8'"));
  CHECK_THAT(refusal(wrapper(shape + order + "\x8c\5dtypeN") + eight),
             ContainsSubstring("is not a numpy.dtype"));
  CHECK_THAT(refusal(wrapper(shape + order + "\x8c\5dtype\x8c\5numpy\x8c\5dtype\x93\x8c\2f8\x85R") +
                     eight),
             ContainsSubstring("does not have the state"));
  CHECK_THAT(refusal("cnumpy\ndtype\n\x8c\2f8\x85R\x94)b)b"),
             ContainsSubstring("a dtype does not have the state") ||
                 ContainsSubstring("sets the state of a value that has none"));
  CHECK_THAT(
      refusal(wrapper(shape + order + type + "\x8c\x1bnumpy_array_alignment_bytesK\x10") + "\x09"),
      ContainsSubstring("the pickle needs 9 bytes"));
}

TEST_CASE("pickle: endless nesting needs no call stack and little memory", "[array]") {
  auto const depth = std::size_t{200000};
  auto const tree = run(std::string(depth, ']') + std::string(depth - 1, 'a'));
  CHECK(tree.size() == depth + 4);
  // A list that contains itself.
  auto const circle = run("]\x94h\0a"s);
  CHECK(circle.items(circle.root).next() == circle.root);
}
