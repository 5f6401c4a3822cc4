// SPDX-License-Identifier: MIT
#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include <forkmap/load_value.hpp>

#include "support/catch.hpp"
#include "support/file_bytes.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;
using namespace std::string_literals;
using Catch::Matchers::ContainsSubstring;

namespace {

/// The opcode of a text of any length.
std::string binunicode(std::string const& text) {
  auto const byte = [&](unsigned shift) { return static_cast<char>(text.size() >> shift & 0xffU); };
  return "X"s + byte(0) + byte(8) + byte(16) + byte(24) + text;
}

std::string binbytes(std::string const& bytes) {
  auto result = binunicode(bytes);
  result[0] = 'B';
  return result;
}

class pickled_file {
 public:
  explicit pickled_file(std::string const& opcodes)
      : file_(support::write_bytes(folder_.path() / "a.pkl", "\x80\4" + opcodes + ".")) {}

  int value(std::string const& name) const { return fm::load_value<int>(file_, name); }

  std::vector<std::string> names() const {
    std::vector<std::string> result;
    for (auto const& entry : fm::contents(file_)) result.push_back(entry.name);
    return result;
  }

  std::string refusal(std::string const& name) const {
    try {
      value(name);
    } catch (fm::format_error const& error) {
      return error.what();
    }
    return {};
  }

 private:
  support::temporary_directory folder_{};
  std::filesystem::path file_;
};

using strings = std::vector<std::string>;

}  // namespace

TEST_CASE("pickle names: keys that are bytes are spelled as in Python", "[array]") {
  pickled_file const file("}(" + binbytes("a\xff") + "K\1" + binbytes("'\\\n") + "K\2" +
                          binbytes("'\"") +
                          "K\3c_codecs\nencode\n\x8c\2\xc3\xa4\x8c\6latin1\x86RK\4u");
  CHECK(file.names() == strings{R"([b'a\xff'])", R"([b"'\\\n"])", R"([b'\'"'])", R"([b'\xe4'])"});
  int expected = 0;
  for (auto const& name : file.names()) CHECK(file.value(name) == ++expected);
}

TEST_CASE("pickle names: nested tuples in a key are spelled out up to eight levels", "[array]") {
  pickled_file const file("}(K\1K\2\x86K\3\x86K\1K\1K\3\x86K\3\x86K\2u");
  CHECK(file.names() == strings{"[((1, 2), 3)]", "[((1, 3), 3)]"});
  CHECK(file.value("[((1, 2), 3)]") == 1);
  CHECK(file.value("[((1, 3), 3)]") == 2);
  // (((...),),)
  auto const nested = [](std::size_t depth) { return "K\1" + std::string(depth, '\x85'); };
  CHECK(pickled_file("}" + nested(8) + "K\5s").names() ==
        strings{"[" + std::string(8, '(') + "1,),),),),),),),)]"});
  CHECK(pickled_file("}" + nested(9) + "K\5s").names() ==
        strings{"[" + std::string(8, '(') + "(...),),),),),),),),)]"});
}

TEST_CASE("pickle names: shared parts cannot make the spelling of a key huge", "[array]") {
  auto const name_bytes = [](std::string const& key) {
    return pickled_file("}" + key + "K\1s").names().at(0).size();
  };
  CHECK(pickled_file("}" + binunicode(std::string(257, 'a')) + "K\1\x86K\5s").names() ==
        strings{"[(..., 1)]"});
  CHECK(name_bytes(binunicode(std::string(256, 'a')) + "K\1\x86") == 256 + 9);
  // A key that is one text is spelled in full.
  CHECK(name_bytes(binunicode(std::string(3000, ' '))) == 3000 + 4);
  std::string shared = binunicode(std::string(200, 'a')) + "\x94" + "0";
  std::string key = "(";
  for (int i = 0; i < 16; ++i) key += "h\0"s;
  CHECK(name_bytes(shared + key + "t") < 1400);
  // 16 times 16 times ... the same text.
  shared = binunicode("a") + "\x94" + "0";
  for (char level = 0; level < 7; ++level) {
    shared += "(";
    for (int i = 0; i < 16; ++i) shared += "h"s + level;
    shared += "t\x94" + "0"s;
  }
  CHECK(name_bytes(shared + "h\7") < 3000);
}

TEST_CASE("pickle names: keys with equal spellings are not found by that spelling", "[array]") {
  pickled_file const file("}(" + binbytes(std::string(300, 'x')) + "K\1" +
                          binbytes(std::string(300, 'y')) + "K\2" + binunicode("k") + "K\3K\7K\4u");
  CHECK(file.names() == strings{"[...]", "[...]", "k", "[7]"});
  CHECK_THAT(file.refusal("[...]"),
             ContainsSubstring("a.pkl: '[...]' is ambiguous") &&
                 ContainsSubstring("the file has several keys that are written like this"));
  CHECK(file.value("k") == 3);
  CHECK(file.value("['k']") == 3);
  CHECK(file.value("[7]") == 4);
  CHECK(pickled_file("}" + binbytes(std::string(300, 'x')) + "K\1s").value("[...]") == 1);
  CHECK_THAT(pickled_file("](}(NK\1NK\2ue").refusal("[0][None]"),
             ContainsSubstring("'[0]' has several keys that are written like this"));
}
