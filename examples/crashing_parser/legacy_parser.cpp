// SPDX-License-Identifier: MIT
#include "legacy_parser.hpp"

#include <cctype>
#include <cstdlib>
#include <cstring>

namespace legacy {

static char const* at;  // the current position

static double const one = 1, two = 2, ten = 10;
static struct {
  char const* name;
  double const* value;
} const names[] = {{"one", &one}, {"two", &two}, {"ten", &ten}};

static double const* find(char const* name, std::size_t length) {
  for (auto const& each : names) {
    if (std::strlen(each.name) == length && std::memcmp(each.name, name, length) == 0)
      return each.value;
  }
  return nullptr;
}

static double parse_name() {
  char const* const name = ++at;
  while (std::isalpha(static_cast<unsigned char>(*at))) ++at;
  return *find(name, static_cast<std::size_t>(at - name));  // assumes that the name exists
}

static double parse_list();

static double parse_item() {
  if (*at == '(') return parse_list();
  if (*at == '$') return parse_name();
  if (*at == ' ') ++at;
  char* end = nullptr;
  auto const number = std::strtod(at, &end);
  at = end;
  return number;
}

static double parse_list() {
  ++at;
  double sum = 0;
  while (*at != ')') sum += parse_item();  // assumes that the list ends
  ++at;
  return sum;
}

double parse(char const* document) {
  if (std::strncmp(document, "doc ", 4) != 0) std::exit(2);
  at = document + 4;
  return parse_list();
}

}  // namespace legacy
