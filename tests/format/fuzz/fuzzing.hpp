// Common parts of the fuzz targets. Each target is a function, so that one test program can replay
// all corpora. With FORKMAP_FUZZ=<function>, libFuzzer and AFL++ call that function:
//
//   clang++ -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude -DFORKMAP_FUZZ=fuzz_npz
//     tests/format/fuzz/npz.cpp -o /tmp/fuzz && /tmp/fuzz tests/format/fuzz/corpus_npz
//
// AFL++ with any clang, without AFL++'s compiler plug-ins:
//
//   clang++ -std=c++20 -g -O2 -fsanitize-coverage=trace-pc-guard -Iinclude -DFORKMAP_FUZZ=fuzz_npz
//     tests/format/fuzz/npz.cpp /usr/lib/afl/libAFLDriver.a /usr/lib/afl/afl-compiler-rt.o
//     -o /tmp/fuzz && afl-fuzz -i tests/format/fuzz/corpus_npz -o /tmp/found /tmp/fuzz
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <span>
#include <string_view>

#include <forkmap/detail/array/format.hpp>

namespace fuzzing {

using function = int(std::uint8_t const* data, std::size_t size);

/// A file of these bytes. A read past their end aborts.
class bytes_in_memory final : public forkmap::detail::byte_source {
 public:
  bytes_in_memory(std::filesystem::path const& file, std::string_view bytes)
      : byte_source(file, bytes.size(), bytes.substr(0, 64)), bytes_(bytes) {}

  void read(std::size_t offset, std::span<char> out) const override {
    if (offset > bytes_.size() || out.size() > bytes_.size() - offset) std::abort();
    if (!out.empty()) std::memcpy(out.data(), bytes_.data() + offset, out.size());
  }

 private:
  std::string_view bytes_;
};

inline void require(bool condition) {
  if (!condition) std::abort();
}

/// Runs a body. Returns: whether it refused the bytes with an error, which is allowed.
template <class Body> bool refused(Body body) {
  try {
    body();
  } catch (forkmap::format_error const&) {
    return true;
  } catch (forkmap::dtype_error const&) {
    return true;
  }
  return false;
}

}  // namespace fuzzing

fuzzing::function fuzz_joblib;
fuzzing::function fuzz_npy_header;
fuzzing::function fuzz_npz;
fuzzing::function fuzz_packed;

#ifdef FORKMAP_FUZZ
extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  return FORKMAP_FUZZ(data, size);
}
#endif
