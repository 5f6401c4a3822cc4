// SPDX-License-Identifier: MIT
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <forkmap/archive.hpp>
#include <forkmap/dump_value.hpp>
#include <forkmap/inspect.hpp>
#include <forkmap/load.hpp>
#include <forkmap/load_value.hpp>

#include "support/catch.hpp"
#include "support/file_bytes.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;
using namespace std::string_literals;
using Catch::Matchers::ContainsSubstring;

namespace {

std::string from_hex(std::string_view hex) {
  auto const digit = [](char c) {
    return static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10);
  };
  std::string result;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    result += static_cast<char>(digit(hex[i]) << 4U | digit(hex[i + 1]));
  }
  return result;
}

// joblib.dump(np.arange(6.).reshape(2, 3), file) of joblib 1.2.0 and 1.6, which wrote the same.
constexpr std::string_view golden =
    "800495cd000000000000008c136a6f626c69622e6e756d70795f7069636b6c65948c114e756d707941727261795772"
    "61"
    "707065729493942981947d94288c08737562636c617373948c056e756d7079948c076e6461727261799493948c0573"
    "68"
    "617065944b024b0386948c056f72646572948c0143948c056474797065946806680d93948c02663894898887945294"
    "28"
    "4b038c013c944e4e4e4affffffff4affffffff4b007494628c0a616c6c6f775f6d6d617094888c1b6e756d70795f61"
    "72"
    "7261795f616c69676e6d656e745f6279746573944b10756207ffffffffffffff0000000000000000000000000000f0"
    "3f"
    "00000000000000400000000000000840000000000000104000000000000014402e";

/// The message with which a pickle of these opcodes, between protocol and STOP, is refused.
std::string file_refusal(std::string const& bytes, std::string const& name = {}) {
  support::temporary_directory const folder;
  auto const file = support::write_bytes(folder.path() / "a.joblib", bytes);
  try {
    fm::load<double>(file, name);
  } catch (fm::format_error const& error) {
    return error.what();
  }
  return {};
}

/// numpy.dtype('f8'), little-endian.
std::string const pickled_f8 =
    "\x8c\5numpy\x8c\5dtype\x93\x8c\2f8\x89\x88\x87R(K\3\x8c\1<NNNJ\xff\xff\xff\xff"
    "J\xff\xff\xff\xffK\0tb"s;

/// An array of one element, with its data.
std::string array_of_one(std::string const& dtype = pickled_f8) {
  return "\x8c\x13joblib.numpy_pickle\x8c\x11NumpyArrayWrapper\x93)\x81}(\x8c\5shapeK\1\x85"
         "\x8c\5order\x8c\1C\x8c\5dtype" +
         dtype + "ub" + std::string(8, '\0');
}

/// The opcode of a text of any length.
std::string long_text(std::string const& text) {
  auto const byte = [&](unsigned shift) { return static_cast<char>(text.size() >> shift & 0xffU); };
  return "X"s + byte(0) + byte(8) + byte(16) + byte(24) + text;
}

}  // namespace

TEST_CASE("joblib: the golden file reads as joblib wrote it", "[array]") {
  support::temporary_directory const folder;
  auto const file = support::write_bytes(folder.path() / "a.joblib", from_hex(golden));
  auto const array = fm::load<double>(file);
  CHECK(array.dims() == fm::shape{2, 3});
  CHECK(array(1, 2) == 5.0);
  auto const info = fm::inspect(file);
  CHECK(info.offset == 224);
  CHECK(info.format == "joblib");
  CHECK(info.dtype == "<f8");
  fm::load<double>(file, fm::read_write)[0] = 7;
  CHECK(fm::load<double>(file, fm::in_memory)[0] == 7.0);
  CHECK(std::filesystem::file_size(file) == 273);
}

TEST_CASE("joblib: the bytes written are the shortest pickle that joblib reads", "[array]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "a.joblib";
  fm::dump(std::vector<double>{1, 2}, file);
  auto const head =
      "\x80\4\x8c\x13joblib.numpy_pickle\x8c\x11NumpyArrayWrapper\x93)\x81}("
      "\x8c\x08subclass\x8c\5numpy"
      "\x8c\7ndarray\x93\x8c\5shape(K\2t\x8c\5order\x8c\1C\x8c\5dtype\x8c\5numpy\x8c\5dtype\x93"
      "\x8c\2f8\x89\x88\x87R(K\3\x8c\1<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x8c\x0a"
      "allow_mmap\x88\x8c\x1bnumpy_array_alignment_bytesK\x40ub"s;
  auto const padding = (64 - (head.size() + 1) % 64) % 64;
  auto const bytes = support::file_bytes(file);
  CHECK(bytes == head + static_cast<char>(padding) + std::string(padding, '\xff') +
                     from_hex("000000000000f03f0000000000000040") + ".");
  CHECK(fm::inspect(file).offset % 64 == 0);

  fm::dump(std::tuple(std::vector{"a"s}, 1, -1, 255, 256, 65536, -70000, std::int64_t{1} << 40U,
                      ~std::uint64_t{0}, 2.5, true, std::optional<int>{}, std::tuple<>{},
                      std::map<std::string, int>{}),
           file);
  CHECK(support::file_bytes(file) ==
        "\x80\4(](\x8c\1aeK\1J\xff\xff\xff\xffK\xffM\0\1J\0\0\1\0J\x90\xee\xfe\xff"
        "\x8a\x08\0\0\0\0\0\1\0\0\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\0"
        "G\x40\4\0\0\0\0\0\0\x88N(t}t."s);
}

TEST_CASE("joblib: values are found by name at any depth", "[array]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "model.joblib";
  using layer = std::map<std::string, std::vector<double>>;
  fm::dump(std::tuple(std::vector{layer{{"w", {1, 2}}, {"a b", {3}}, {"it's", {4}}},
                                  layer{{"x.y", {5}}, {"\n", {6}}, {"\xc3\xa4", {7}}}},
                      std::map<std::string, int>{{"n", 5}}),
           file);
  auto const first = [&](std::string const& name) { return fm::load<double>(file, name)[0]; };
  CHECK(first("[0][0].w") == 1.0);
  CHECK(first("[0][0]['a b']") == 3.0);
  CHECK(first("[0][0][\"it's\"]") == 4.0);
  CHECK(first("[0][1]['x.y']") == 5.0);
  CHECK(first("[0][1]['\\n']") == 6.0);
  CHECK(first("[0][1]['\xc3\xa4']") == 7.0);
  CHECK(first("[0][1].\xc3\xa4") ==
        7.0);  // a key that is not an identifier also works without brackets
  CHECK(fm::load_value<int>(file, "[1].n") == 5);
  std::vector<std::string> names;
  for (auto const& entry : fm::contents(file)) {
    names.push_back(entry.name);
    if (entry.is_array) CHECK(fm::load<double>(file, entry.name).size() >= 1);
  }
  CHECK(names == std::vector<std::string>{"[0][0]['a b']", "[0][0][\"it's\"]", "[0][0].w",
                                          "[0][1]['\\n']", "[0][1]['x.y']", "[0][1]['\xc3\xa4']",
                                          "[1].n"});
  for (auto const* bad : {"[2]", "[0", "[0]]", "[-1]", "[00000000000000000000001]", "w", ".w",
                          "[0][0]w", "[0][0]..w", "[0][0]['w", "[1].n.m", "[]", "[0].[0]"}) {
    INFO(bad);
    CHECK_THROWS_AS(fm::load<double>(file, bad), fm::format_error);
  }
}

TEST_CASE("joblib: a key that looks like a path is found as a key", "[array]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "state.joblib";
  fm::dump(std::map<std::string, std::vector<double>>{{"layer.0.weight", {1}}, {"b[0]", {2}}},
           file);
  CHECK(fm::load<double>(file, "layer.0.weight")[0] == 1.0);
  CHECK(fm::load<double>(file, "b[0]")[0] == 2.0);
}

TEST_CASE("joblib: an unknown name, or a name of no array, is an error that lists the names",
          "[array]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "model.joblib";
  fm::dump(std::tuple(std::vector<std::vector<double>>{{1}, {2}},
                      std::map<std::string, int>{{"k", 5}}, "text", 7),
           file);
  auto const refused = [&](std::string const& name) {
    try {
      fm::load<double>(file, name);
    } catch (fm::format_error const& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK_THAT(refused("[0][2]"), ContainsSubstring("no value is called '[0][2]'") &&
                                    ContainsSubstring("'[0]' is a list of 2 ('[0][0]', '[0][1]')"));
  CHECK_THAT(refused("w"),
             ContainsSubstring("the file holds a tuple of 4 ('[0]', '[1]', '[2]', '[3]')"));
  CHECK_THAT(refused("[1].k"),
             ContainsSubstring("'[1].k' is an int, not an array; load_value reads it"));
  CHECK_THAT(refused("[1].k.x"), ContainsSubstring("'[1].k' is an int"));
  CHECK_THAT(refused("[0]"),
             ContainsSubstring("'[0]' is a list of 2, not an array; its items are"));
  CHECK_THAT(refused(""),
             ContainsSubstring("several arrays; give the name of one: '[0][0]', '[0][1]'"));
  fm::dump(std::map<std::string, int>{{"k", 5}}, file);
  CHECK_THAT(refused(""), ContainsSubstring("a dict of 1 without an array"));
  fm::dump(std::map<std::string, std::vector<double>>{{"only", {3}}}, file);
  CHECK(fm::load<double>(file)[0] == 3.0);
}

TEST_CASE("joblib: pickles of other objects are refused with their kind", "[array]") {
  CHECK_THAT(file_refusal("cjoblib.numpy_pickle\nNumpyArrayWrapper\np0\n."),
             ContainsSubstring("protocol 0 or 1"));
  CHECK_THAT(file_refusal("(dp0\nS'a'\np1\nI1\ns."), ContainsSubstring("protocol 0 or 1"));
  CHECK_THAT(file_refusal("\x80\4\x8c\x10"
                          "sklearn.ensemble\x8c\x0c"
                          "RandomForest\x93."),
             ContainsSubstring("'RandomForest' of the Python module 'sklearn.ensemble'"));
  CHECK_THAT(file_refusal("ZF0x412               x"), ContainsSubstring("joblib 0.9 or older"));
  CHECK_THAT(file_refusal("\x80\4}(\x8c\1aK\1\x8c\1aK\2u."),
             ContainsSubstring("the key 'a' twice"));
  CHECK_THAT(file_refusal("\x80\4}(K\1NK\1Nu."), ContainsSubstring("the key 1 twice"));
}

TEST_CASE("joblib: shared containers need no more memory than was read", "[array]") {
  support::temporary_directory const folder;
  // Each list holds the previous one twice: 2^60 leaves.
  std::string laughs = "\x80\4](NK\1e\x94";
  for (int i = 0; i < 60; ++i)
    laughs += "0]\x94(h"s + static_cast<char>(i) + "h" + static_cast<char>(i) + "e";
  auto file = support::write_bytes(folder.path() / "laughs.pkl", laughs + ".");
  CHECK_THROWS_WITH(fm::contents(file), ContainsSubstring("give the name of a value") ||
                                            ContainsSubstring("more than 64 deep"));
  CHECK(fm::load_value<int>(file, [] {
          std::string name;
          for (int i = 0; i < 60; ++i) name += "[1]";
          return name + "[1]";
        }()) == 1);
  file = support::write_bytes(folder.path() / "circle.pkl", "\x80\4]\x94h\0a."s);
  CHECK_THROWS_AS(fm::contents(file), fm::format_error);
  CHECK_THROWS_AS(fm::load<double>(file), fm::format_error);
  file = support::write_bytes(folder.path() / "deep.pkl",
                              "\x80\4" + std::string(100000, ']') + std::string(99999, 'a') + ".");
  CHECK_THROWS_WITH(fm::contents(file), ContainsSubstring("more than 64 deep"));
}

TEST_CASE("joblib: dicts share very long keys are refused", "[array]") {
  support::temporary_directory const folder;
  auto const file = [&](std::size_t length, int dicts) {
    std::string const same(length, 'a');
    auto bytes =
        "\x80\4" + long_text(same + "x") + "\x94" + "0" + long_text(same + "y") + "\x94" + "0](";
    for (int i = 0; i < dicts; ++i) bytes += "}(h\0K\1h\1K\2u"s;
    return support::write_bytes(folder.path() / "keys.pkl", bytes + "e.");
  };
  CHECK(fm::contents(file(2000, 8)).size() == 16);
  CHECK_THROWS_WITH(fm::contents(file(20'000, 100)),
                    ContainsSubstring("dicts share very long keys"));
  // Keys of usual length in many dicts.
  CHECK(fm::load_value<int>(file(200, 1000), "[999]." + std::string(200, 'a') + "y") == 2);
}

TEST_CASE("joblib: a long name shared by many fields is copied once", "[array]") {
  support::temporary_directory const folder;
  auto const file = [&](std::string const& more_names) {
    auto const record = "\x8c\5numpy\x8c\5dtype\x93\x8c\2V8\x89\x88\x87R(K\3\x8c\1|N(" +
                        long_text(std::string(600000, 'n')) + "\x94" + more_names + "t}(h\0("s +
                        pickled_f8 + "K\0tuK\x08K\1K\x10tb"s;
    return support::write_bytes(folder.path() / "record.pkl",
                                "\x80\4" + array_of_one(record) + ".");
  };
  CHECK(fm::inspect(file("")).dtype.size() > 600000);
  CHECK_THROWS_WITH(fm::inspect(file("h\0"s)), ContainsSubstring("more than 1 MiB in all"));
}

TEST_CASE("joblib: load without a name is refused if not all values could be listed", "[array]") {
  support::temporary_directory const folder;
  // An array, then a list that contains itself.
  auto file = support::write_bytes(folder.path() / "circle.pkl",
                                   "\x80\4](" + array_of_one() + "]\x94h\0ae."s);
  CHECK_THROWS_WITH(fm::load<double>(file), ContainsSubstring("more than 64 deep"));
  fm::archive const opened(file);
  CHECK(opened.names() == std::vector{"[0]"s});
  CHECK(opened.contains("[0]"));
  CHECK(opened.load<double>("[0]", fm::in_memory).size() == 1);
  // The array is after the list, where names() stops before.
  file = support::write_bytes(folder.path() / "circle.pkl",
                              "\x80\4](]\x94h\0a"s + array_of_one() + "e.");
  CHECK_THROWS_WITH(fm::load<double>(file), ContainsSubstring("more than 64 deep"));
  CHECK(fm::archive(file).names().empty());
  CHECK(fm::archive(file).load<double>("[1]", fm::in_memory).size() == 1);
}
