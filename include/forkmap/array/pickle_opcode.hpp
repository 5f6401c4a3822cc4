// The opcodes of Python's pickle that plain values and arrays need, and why the others are refused.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace forkmap::detail {

// clang-format off
/// As pickletools names them.
enum class pickle_opcode : std::uint8_t {
  mark = '(', stop = '.', pop = '0', pop_mark = '1', dup = '2',
  none = 'N', newtrue = 0x88, newfalse = 0x89,
  binint = 'J', binint1 = 'K', binint2 = 'M', long1 = 0x8a, long4 = 0x8b, binfloat = 'G',
  binunicode = 'X', short_binunicode = 0x8c, binunicode8 = 0x8d,
  binstring = 'T', short_binstring = 'U',
  binbytes = 'B', short_binbytes = 'C', binbytes8 = 0x8e, bytearray8 = 0x96,
  empty_list = ']', append = 'a', appends = 'e',
  empty_tuple = ')', tuple = 't', tuple1 = 0x85, tuple2 = 0x86, tuple3 = 0x87,
  empty_dict = '}', dict = 'd', list = 'l', setitem = 's', setitems = 'u',
  empty_set = 0x8f, additems = 0x90, frozenset = 0x91,
  binput = 'q', long_binput = 'r', binget = 'h', long_binget = 'j', memoize = 0x94,
  global = 'c', stack_global = 0x93, newobj = 0x81, reduce = 'R', build = 'b',
  proto = 0x80, frame = 0x95,
};
// clang-format on

/// Why an opcode that is none of these is not read.
template <class Lazy = void> std::string refusal_of_opcode(unsigned opcode) {
  constexpr std::string_view digits = "0123456789abcdef";
  constexpr std::string_view oldest = "FILSVgip";
  constexpr std::string_view objects = "\x82\x83\x84\x92PQo";
  std::string const named =
      std::string("opcode 0x") + digits[opcode >> 4U & 15U] + digits[opcode & 15U];
  auto const letter = static_cast<char>(opcode);
  if (oldest.find(letter) != std::string_view::npos) {
    return named + " of pickle protocol 0 or 1, which is not read; use protocol 2 to 5";
  }
  if (objects.find(letter) != std::string_view::npos) {
    return named +
           ", which makes Python objects; convert them to lists, dicts or arrays before "
           "joblib.dump";
  }
  if (opcode == 0x97 || opcode == 0x98) {
    return named + " takes a buffer from outside the file (pickle's buffer_callback)";
  }
  return named + " is none of pickle's";
}

}  // namespace forkmap::detail
