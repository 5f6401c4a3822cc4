// Train in Python, serve in C++: a model that joblib.dump() wrote is mapped and shared by workers
// that answer requests. Loading the file runs no code in it.
//
//   python3 train.py model.joblib && serve_model model.joblib
//
// Without an argument the program makes such a file itself.
// SPDX-License-Identifier: MIT
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <map>
#include <ranges>
#include <string>
#include <vector>

#include <forkmap/forkmap.hpp>

namespace fm = forkmap;

namespace {

/// Writes a model with about the values that train.py finds.
void write_model(std::filesystem::path const& file) {
  std::vector<std::vector<double>> const weights{{-0.22, -0.22}, {0.45, 0.0}, {0.0, 0.45}};
  fm::dump(fm::named("weights", weights, "bias", std::vector{0.9, -0.9, -0.9}, "classes",
                     std::vector<std::string>{"low", "right", "high"}, "scale", 1.0),
           file);
}

/// A linear classifier with one vector of weights per class, mapped from the file.
class model {
 public:
  explicit model(std::filesystem::path const& file)
      : classes_(fm::load_value<std::vector<std::string>>(file, "classes")),
        scale_(fm::load_value<double>(file, "scale")),
        bias_(fm::load<double>(file, "bias")) {
    for (std::size_t k = 0; k < classes_.size(); ++k) {
      weights_.push_back(fm::load<double>(file, "weights[" + std::to_string(k) + "]"));
    }
  }

  /// The class with the highest score.
  std::string classify(double x, double y) const {
    std::size_t best = 0;
    for (std::size_t k = 1; k < classes_.size(); ++k) {
      if (score(k, x, y) > score(best, x, y)) best = k;
    }
    return classes_[best];
  }

 private:
  double score(std::size_t k, double x, double y) const {
    return scale_ * (weights_[k][0] * x + weights_[k][1] * y + bias_[k]);
  }

  std::vector<std::string> classes_;
  double scale_;
  fm::memmap<double const> bias_;
  std::vector<fm::memmap<double const>> weights_{};
};

}  // namespace

int main(int argc, char** argv) {
  auto const own = std::filesystem::temp_directory_path() /
                   ("forkmap-model-" + std::to_string(::getpid()) + ".joblib");
  std::filesystem::path const file = argc > 1 ? argv[1] : own;
  if (file == own) write_model(own);
  for (auto const& entry : fm::contents(file)) {
    std::printf("%-12s %-12s %s\n", entry.name.c_str(), entry.type.c_str(),
                entry.dims.text().c_str());
  }

  model const served(file);
  if (file == own) std::filesystem::remove(own);  // the mapping stays valid
  auto const requests = std::views::iota(0, 300);
  auto const answers = fm::parallel(2).map(
      [&](int i) { return served.classify(i % 3 == 1 ? 4.1 : 0.1, i % 3 == 2 ? 3.9 : 0.2); },
      requests);

  std::map<std::string, int> count;
  for (auto const& answer : answers) ++count[answer];
  for (auto const& [name, n] : count) std::printf("%d requests: %s\n", n, name.c_str());
  return count == std::map<std::string, int>{{"high", 100}, {"low", 100}, {"right", 100}} ? 0 : 1;
}
