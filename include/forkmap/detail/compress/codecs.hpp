// Factories of the compressor and the decompressor of each method.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/compress/bzip2.hpp>
#include <forkmap/detail/compress/codec.hpp>
#include <forkmap/detail/compress/compression.hpp>
#include <forkmap/detail/compress/lz4.hpp>
#include <forkmap/detail/compress/lzma.hpp>
#include <forkmap/detail/compress/zlib.hpp>
#include <forkmap/detail/os/library.hpp>
#include <forkmap/detail/owner.hpp>

namespace forkmap::detail {

/// Null for compression::none.
/// Errors: missing_library.
template <class Lazy = void> owner<decompressor> make_decompressor(compression method) {
  switch (method) {
    case compression::none:
      break;
    case compression::deflate:
      return make_zlib_unpacker(deflate_wrapping::none);
    case compression::zlib:
      return make_zlib_unpacker(deflate_wrapping::zlib);
    case compression::gzip:
      return make_zlib_unpacker(deflate_wrapping::gzip);
    case compression::bzip2:
      return make_bzip2_unpacker();
    case compression::xz:
      return make_lzma_unpacker(lzma_container::xz);
    case compression::lzma:
      return make_lzma_unpacker(lzma_container::alone);
    case compression::lz4:
      return make_lz4_unpacker();
  }
  return nullptr;
}

/// Null for compression::none.
/// Errors: missing_library.
template <class Lazy = void> owner<compressor> make_compressor(write_options const& options) {
  switch (options.method) {
    case compression::none:
      break;
    case compression::deflate:
      return make_zlib_packer(deflate_wrapping::none, options.level);
    case compression::zlib:
      return make_zlib_packer(deflate_wrapping::zlib, options.level);
    case compression::gzip:
      return make_zlib_packer(deflate_wrapping::gzip, options.level);
    case compression::bzip2:
      return make_bzip2_packer(options.level);
    case compression::xz:
      return make_lzma_packer(lzma_container::xz, options.level);
    case compression::lzma:
      return make_lzma_packer(lzma_container::alone, options.level);
    case compression::lz4:
      return make_lz4_packer(options.level);
  }
  return nullptr;
}

}  // namespace forkmap::detail
