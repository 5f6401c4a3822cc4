// How long does a file that includes forkmap take to compile? CPU time, without optimisation. The
// floor includes the standard headers that forkmap needs.
// SPDX-License-Identifier: MIT
#include <benchmark/benchmark.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "support/by_hand.hpp"
#include "support/paired.hpp"
#include "support/temporary_folder.hpp"

using bench::by_hand::check;

namespace {

constexpr char standard_headers[] =
    "#include <atomic>\n#include <chrono>\n#include <exception>\n#include <filesystem>\n"
    "#include <functional>\n#include <memory>\n#include <random>\n#include <ranges>\n"
    "#include <span>\n#include <stop_token>\n#include <string>\n#include <tuple>\n"
    "#include <variant>\n#include <vector>\n";

constexpr char map_call[] =
    "#include <forkmap/forkmap.hpp>\n"
    "#include <cmath>\n"
    "double root(int x) { return std::sqrt(x); }\n"
    "int main() {\n"
    "  auto tasks = std::views::iota(0, 10) |\n"
    "      std::views::transform([](int i) { return forkmap::delayed(root)(i); });\n"
    "  return forkmap::parallel(2)(tasks).size() != 10;\n"
    "}\n";

double children_seconds() {
  rusage used{};
  check(::getrusage(RUSAGE_CHILDREN, &used) == 0, "getrusage");
  auto const seconds = [](timeval const& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

constexpr char header_only[] = "-UFORKMAP_COMPILED";
constexpr char engines_in_library[] = "-DFORKMAP_COMPILED";

/// Runs the compiler, and returns the CPU time that it took.
double run_compiler(std::string const& source, char const* language, std::string const& output,
                    std::string const& first = "/dev/null", char const* option = header_only) {
  auto const before = children_seconds();
  bench::by_hand::fork_and_wait(1, [&] {
    ::execlp(FORKMAP_BENCH_COMPILER, FORKMAP_BENCH_COMPILER, "-std=c++20", "-O0", option,
             "-I" FORKMAP_BENCH_INCLUDE, "-I" FORKMAP_BENCH_BOOST, "-include", first.c_str(), "-x",
             language, "-c", source.c_str(), "-o", output.c_str(), static_cast<char*>(nullptr));
    ::_exit(1);
  });
  return children_seconds() - before;
}

/// Compiles a program, and returns the CPU time that it took.
double compile(std::string const& program, std::string const& first = "/dev/null",
               char const* option = header_only) {
  bench::temporary_folder const folder;
  auto const source = (folder / "main.cpp").native();
  std::ofstream(source) << program;
  return run_compiler(source, "c++", (folder / "main.o").native(), first, option);
}

void compiles(benchmark::State& state, std::string const& program, bench::question const& asked) {
  bench::in_turns(
      state, asked, [] { return compile(standard_headers + std::string("int main() {}\n")); },
      [&] { return compile(program); });
}
BENCHMARK_CAPTURE(compiles, umbrella, "#include <forkmap/forkmap.hpp>\nint main() {}\n",
                  {.text = "compiling an empty main with forkmap.hpp / with standard headers",
                   .limit = 2})
    ->Iterations(3)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(compiles, one_map, map_call,
                  {.text = "compiling one map call / an empty main with standard headers",
                   .limit = 4})
    ->Iterations(3)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

/// Precompiles the header as CMake's target_precompile_headers does.
void precompiled(benchmark::State& state) {
  bench::temporary_folder const folder;
  auto const header = (folder / "precompiled.hpp").native();
  std::ofstream(header) << "#include <forkmap/forkmap.hpp>\n";
  run_compiler(header, "c++-header", header + ".gch");
  bench::in_turns(
      state, {.text = "compiling one map call, forkmap.hpp precompiled / not precompiled"},
      [] { return compile(map_call); }, [&] { return compile(map_call, header); });
}
BENCHMARK(precompiled)->Iterations(3)->UseManualTime()->Unit(benchmark::kMillisecond);

/// Compiles as a user of forkmap::compiled does. The library itself is neither compiled nor linked.
void compiled(benchmark::State& state) {
  bench::in_turns(
      state,
      {.text = "compiling one map call with forkmap::compiled / header-only", .ratio_target = 0.75},
      [] { return compile(map_call); },
      [] { return compile(map_call, "/dev/null", engines_in_library); });
}
BENCHMARK(compiled)->Iterations(3)->UseManualTime()->Unit(benchmark::kMillisecond);

}  // namespace
