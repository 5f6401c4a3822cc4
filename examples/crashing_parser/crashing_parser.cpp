// A parser that crashes, hangs and exits, run over two thousand documents. Some documents are bad;
// only their own tasks fail.
// SPDX-License-Identifier: MIT
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <string>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "legacy_parser.hpp"

namespace fm = forkmap;
using namespace std::chrono_literals;

namespace {

struct document {
  std::string text;
  bool poisoned = false;
};

std::vector<document> corpus(std::size_t n) {
  std::vector<document> all;
  for (std::size_t i = 0; i != n; ++i) {
    all.push_back({"doc (" + std::to_string(i) + " (1 $two) $ten)"});
  }
  all[170] = {"doc (1 $three)", true};                      // an unknown name
  all[680] = {"doc " + std::string(2'000'000, '('), true};  // deeper than any stack
  all[1020] = {"doc (1 2", true};                           // a list without an end
  all[1530] = {"dok (1)", true};                            // not a document
  return all;
}

/// The innermost function of the parser in a backtrace with one line per function.
std::string where_in_parser(std::string const& trace) {
  auto const begin = trace.find("legacy::");
  if (begin == trace.npos) return {};
  auto const line = trace.substr(begin, trace.find('\n', begin) - begin);
  return "    in " + line.substr(0, line.rfind(" (")) + '\n';
}

}  // namespace

int main() {
  auto const documents = corpus(2000);

  // The time limit is half a second per document, far more than a good one needs.
  auto const outcomes = fm::parallel({.n_jobs = 2, .timeout = 500ms})
                            .outcomes(documents | std::views::transform([](document const& each) {
                                        return fm::delayed(legacy::parse)(each.text.c_str());
                                      }));

  std::size_t parsed = 0;
  bool as_expected = true;
  for (std::size_t i = 0; i != outcomes.size(); ++i) {
    if (outcomes[i]) {
      ++parsed;
      as_expected &= *outcomes[i] == static_cast<double>(i) + 13 && !documents[i].poisoned;
    } else {
      auto const& failure = outcomes[i].error();
      std::printf("%s\n%s", failure.message.c_str(), where_in_parser(failure.trace()).c_str());
      as_expected &= documents[i].poisoned;
    }
  }
  auto const report = fm::last_report();
  std::printf("%zu of %zu documents parsed in %.2f s; workers replaced: %d\n", parsed,
              outcomes.size(), std::chrono::duration<double>(report.wall).count(),
              report.workers[0].replacements + report.workers[1].replacements);
  return as_expected ? 0 : 1;
}
