// A library that a test loads after its pool was made, or only in a task.
// SPDX-License-Identifier: MIT
#include <string>
#include <system_error>
#include <typeinfo>

namespace {

struct type_loaded_later {};

struct category_loaded_later final : std::error_category {
  char const* name() const noexcept override { return "loaded later"; }
  std::string message(int code) const override { return "later " + std::to_string(code); }
};

}  // namespace

extern "C" int loaded_later(int x);
extern "C" int loaded_later(int x) { return x + 1; }

extern "C" std::type_info const* type_of_loaded_later();
extern "C" std::type_info const* type_of_loaded_later() { return &typeid(type_loaded_later); }

extern "C" std::error_category const* category_of_loaded_later();
extern "C" std::error_category const* category_of_loaded_later() {
  static category_loaded_later const category;
  return &category;
}
