// The key of a journal, which identifies its call.
//
//   n results u64 | bytes of one u64 | seed u64 | n tasks u64 | flat u8 | bytes of the program u32
//   | bytes of the inputs u32 | program | inputs, u64 each | the results' type
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include <forkmap/detail/crash/symbols.hpp>
#include <forkmap/detail/plan/dispatch.hpp>

namespace forkmap::detail {

/// Identity of a call. A call can use the results of another one with an equal key: the same number
/// of results, of the same type, of tasks with the same random numbers and inputs, of the same
/// program.
struct journal_key {
  std::uint64_t n_results = 0;
  std::string result_type{};       // mangled
  std::uint64_t result_bytes = 0;  // of an inline result
  std::uint64_t seed = 0;
  bool flat = true;  // results are inline; else blobs
  std::uint64_t n_tasks = 0;
  std::string program{};  // readable text
  std::string inputs{};   // one u64 per group of tasks, all groups of one size; empty: not hashed
  bool any_program = false;

  /// The largest number of groups in `inputs`. If there are more tasks, a group has several.
  static constexpr std::uint64_t most_inputs = std::uint64_t{1} << 16U;
  std::uint64_t tasks_of_input() const noexcept { return tasks_of_input(n_tasks); }
  static std::uint64_t tasks_of_input(std::uint64_t n_tasks) noexcept {
    return divide_up(n_tasks, most_inputs);
  }

  std::string bytes() const {
    std::string all;
    append(all, n_results);
    append(all, result_bytes);
    append(all, seed);
    append(all, n_tasks);
    all += flat ? '\1' : '\0';
    append(all, static_cast<std::uint32_t>(program.size()));
    append(all, static_cast<std::uint32_t>(inputs.size()));
    return all + program + inputs + result_type;
  }

  /// Whether a journal with this complete key is that of this call.
  bool fits(std::string const& key_in_file) const {
    if (key_in_file == bytes()) return true;
    if (!any_program) return false;
    journal_key other;
    if (!other.parse(key_in_file)) return false;
    other.program = program;
    return other.bytes() == bytes();
  }

  /// A text that says how the key of another call differs from this key, and the way out.
  /// Precondition: the keys differ.
  std::string difference(std::string const& key_in_file) const {
    constexpr char const* way_out = ". Delete it, or give another path";
    journal_key other;
    if (!other.parse(key_in_file)) return std::string("its start is damaged") + way_out;
    std::string text;
    auto const add = [&](std::string const& part) { text += (text.empty() ? "" : ", ") + part; };
    auto const add_value = [&](char const* name, std::string const& theirs,
                               std::string const& ours) {
      add(name + theirs + " (here " + ours + ')');
    };
    auto const add_number = [&](char const* name, std::uint64_t theirs, std::uint64_t ours) {
      if (theirs != ours) add_value(name, std::to_string(theirs), std::to_string(ours));
    };
    add_number("the number of results is ", other.n_results, n_results);
    if (other.result_type != result_type)
      add_value("the result type is ", demangled(other.result_type.c_str()),
                demangled(result_type.c_str()));
    else
      add_number("the result size is ", other.result_bytes, result_bytes);
    add_number("the seed is ", other.seed, seed);
    add_number("the number of tasks is ", other.n_tasks, n_tasks);
    if (other.n_tasks == n_tasks && other.inputs != inputs) add(differing_inputs(other));
    bool const rebuilt = !any_program && other.program != program;
    if (rebuilt) add_value("the program is another one or was rebuilt: ", other.program, program);
    if (text.empty()) text = "the results are stored in another format";
    text += way_out;
    if (rebuilt)
      text +=
          ", or set FORKMAP_RESUME_ANY_PROGRAM=1 in the environment if this program would give the "
          "same results";
    return text;
  }

 private:
  template <class Number> static void append(std::string& to, Number number) {
    to.append(reinterpret_cast<char const*>(&number), sizeof number);
  }

  std::string differing_inputs(journal_key const& other) const {
    if (other.inputs.size() != inputs.size()) return "the elements have another type";
    auto const group = tasks_of_input();
    std::uint64_t n = 0;
    std::uint64_t first = 0;
    constexpr auto word_bytes = sizeof(std::uint64_t);
    for (auto at = inputs.size() / word_bytes; at-- != 0;) {
      auto const offset = at * word_bytes;
      if (std::memcmp(&inputs[offset], &other.inputs[offset], word_bytes) == 0) continue;
      first = at;
      ++n;
    }
    auto text = "element " + std::to_string(first * group);
    if (group != 1)
      text = "one of the " + std::to_string(group) + " elements from " +
             std::to_string(first * group) + " on";
    text += " differs";
    if (n > 1) text += ", and " + std::to_string(n - 1) + (group == 1 ? " more" : " more groups");
    return text;
  }

  /// Returns: false if `all` is not a key.
  bool parse(std::string const& all) {
    std::size_t at = 0;
    auto const get = [&](auto& number) {
      if (all.size() - at < sizeof number) return false;
      std::memcpy(&number, all.data() + at, sizeof number);
      at += sizeof number;
      return true;
    };
    std::uint8_t is_flat = 0;
    std::uint32_t program_bytes = 0;
    std::uint32_t input_bytes = 0;
    if (!(get(n_results) && get(result_bytes) && get(seed) && get(n_tasks) && get(is_flat) &&
          get(program_bytes) && get(input_bytes)))
      return false;
    flat = is_flat != 0;
    if (all.size() - at < program_bytes) return false;
    program = all.substr(at, program_bytes);
    at += program_bytes;
    if (all.size() - at < input_bytes) return false;
    inputs = all.substr(at, input_bytes);
    result_type = all.substr(at + input_bytes);
    return true;
  }
};

}  // namespace forkmap::detail
