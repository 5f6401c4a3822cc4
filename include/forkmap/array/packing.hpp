// How the bytes of a file, or of a part of one, are compressed.
#pragma once

#include <cstddef>

namespace forkmap::detail {

/// deflate is the stream without a head that zip archives hold.
enum class packing { none, deflate, zlib, gzip, bzip2, xz, lzma, lz4 };

/// A stretch of a file that has to be unpacked before it can be read.
struct packed_section {
  packing method = packing::none;
  std::size_t offset = 0;  // in the file
  std::size_t bytes = 0;   // packed
};

}  // namespace forkmap::detail
