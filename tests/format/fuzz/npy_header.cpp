// Any bytes at all may only be an array that lies inside them, or be refused.
//
// To fuzz: clang++ -std=c++20 -g -fsanitize=fuzzer,address,undefined -Iinclude
//            tests/format/fuzz/npy_header.cpp -o /tmp/fuzz && /tmp/fuzz tests/format/fuzz/corpus
// The test "format: the fuzzer's corpus is read or refused" runs it over the corpus.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include <forkmap/array/formats.hpp>

namespace {

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

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  using namespace forkmap::detail;
  std::string_view const bytes(reinterpret_cast<char const*>(data), size);
  std::filesystem::path const file = "fuzzed.npy";
  stored_array found;
  try {
    found = locate_array(bytes_in_memory(file, bytes));
  } catch (forkmap::format_error const&) {
    return 0;
  } catch (forkmap::dtype_error const&) {
    return 0;
  }
  require(found.offset <= size && found.bytes <= size - found.offset);
  std::size_t count = 0;
  require(found.dims.try_count(count) && count * found.type.item_bytes == found.bytes);

  // What was understood can be written, and is then understood as the same.
  auto const head = npy_head(found, found.dims, found.layout);
  require(head.size() % npy_alignment == 0);
  auto const again = locate_array(bytes_in_memory(file, head + std::string(found.bytes, '\0')));
  require(again.dims == found.dims && again.layout == found.layout && again.type == found.type &&
          again.fields == found.fields);
  require(again.offset == head.size() && again.bytes == found.bytes);
  return 0;
}
