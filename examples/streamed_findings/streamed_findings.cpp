// A static analyser that checks many files in workers. Each finding is printed when it is made, and the
// findings of a file on which the analyser then crashes are kept.
// SPDX-License-Identifier: MIT
#include <cstddef>
#include <cstdio>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <forkmap/forkmap.hpp>

namespace fm = forkmap;

namespace {

struct source_file {
  std::string name;
  std::vector<std::string> lines;
};

struct finding {
  int line;
  std::string text;
};

/// Checks a file. A line with #include without a name is a null pointer in this analyser.
/// Returns: the number of lines.
int analyse(source_file const& file) {
  char const* quoted = nullptr;
  int number = 0;
  for (std::string_view const line : file.lines) {
    ++number;
    if (line.ends_with(' ')) fm::this_task::send(finding{number, "space at the end of the line"});
    if (line.find("gets(") != line.npos)
      fm::this_task::send(finding{number, "gets() cannot check the size of its buffer"});
    if (line.starts_with("#include")) {
      auto const quote = line.find_first_of("\"<");
      quoted = quote == line.npos ? nullptr : line.data() + quote;
      if (quoted[1] == '/') fm::this_task::send(finding{number, "absolute path of a header"});
    }
  }
  return number;
}

std::vector<source_file> const files{
    {"input.c", {"#include <stdio.h>", "void read(char* s) {", "  gets(s);", "}"}},
    {"broken.c", {"#include \"/usr/include/zlib.h\"", "int n; ", "#include", "int unseen; "}},
    {"clean.c", {"int main(void) { return 0; }"}},
};

}  // namespace

int main() {
  std::map<std::size_t, int> found;
  auto const print = [&](std::size_t task, finding const& each) {
    std::printf("%s:%d: %s\n", files[task].name.c_str(), each.line, each.text.c_str());
    std::fflush(stdout);
    ++found[task];
  };
  auto const outcomes = fm::parallel({.n_jobs = 2, .on_message = print}).outcomes(analyse, files);

  for (std::size_t i = 0; i != files.size(); ++i) {
    if (outcomes[i])
      std::printf("%s: %d lines, %d findings\n", files[i].name.c_str(), *outcomes[i], found[i]);
    else
      std::printf("%s: %d findings, then: %s\n", files[i].name.c_str(), found[i],
                  outcomes[i].error().message.c_str());
  }
  bool const as_expected = found[0] == 1 && found[1] == 2 && !outcomes[1] && outcomes[2];
  return as_expected ? 0 : 1;
}
