// The checksum of zip archives: by zlib, which is fast, or by Boost where a program is compiled
// without zlib's header. Not both: Boost's costs more to compile than all of zlib.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <forkmap/system/call.hpp>
#include <forkmap/system/codec.hpp>
#include <forkmap/system/library.hpp>
#include <forkmap/system/zlib.hpp>

#if !__has_include(<zlib.h>)
#include <boost/crc.hpp>
#endif

namespace forkmap::detail {

/// The CRC-32 of bytes that come piece by piece.
///
/// Errors: missing_library, where its header was there when the program was compiled.
class crc32_sum {
 public:
#if __has_include(<zlib.h>)
  void add(std::string_view bytes) {
    auto const function = zlib_crc32();
    while (!bytes.empty()) {
      auto const now = countable(bytes.size());
      sum_ = static_cast<std::uint32_t>(
          function(sum_, reinterpret_cast<unsigned char const*>(bytes.data()), now));
      bytes.remove_prefix(now);
    }
  }
  std::uint32_t value() const { return sum_; }

 private:
  static decltype(&::crc32) zlib_crc32() { return zlib_functions::get().crc32; }

  std::uint32_t sum_ = 0;
#else
  void add(std::string_view bytes) { sum_.process_bytes(bytes.data(), bytes.size()); }
  std::uint32_t value() const { return sum_.checksum(); }

 private:
  boost::crc_32_type sum_{};
#endif
};

}  // namespace forkmap::detail
