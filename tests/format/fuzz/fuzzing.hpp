// What the fuzz targets have in common. Each is a function of its own, so that the tests can replay
// their corpora, all in one program; with FORKMAP_FUZZ=<function> that one is what libFuzzer and
// AFL++ call:
//
//   clang++ -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude -DFORKMAP_FUZZ=fuzz_npz
//     tests/format/fuzz/npz.cpp -o /tmp/fuzz && /tmp/fuzz tests/format/fuzz/corpus_npz
//
// AFL++ with any clang, without its plug-ins:
//
//   clang++ -std=c++20 -g -O2 -fsanitize-coverage=trace-pc-guard -Iinclude -DFORKMAP_FUZZ=fuzz_npz
//     tests/format/fuzz/npz.cpp /usr/lib/afl/libAFLDriver.a /usr/lib/afl/afl-compiler-rt.o
//     -o /tmp/fuzz && afl-fuzz -i tests/format/fuzz/corpus_npz -o /tmp/found /tmp/fuzz
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <span>
#include <string_view>

#include <forkmap/array/format.hpp>

namespace fuzzing {

using function = int(std::uint8_t const* data, std::size_t size);

/// Bytes that are a file; reading past their end is what must not happen.
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

/// Runs a body; whether the bytes were refused, as they may be, in words.
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
