// Every compression method there is, by its name.
#pragma once

#include <forkmap/array/packing.hpp>
#include <forkmap/system/bzip2.hpp>
#include <forkmap/system/codec.hpp>
#include <forkmap/system/library.hpp>
#include <forkmap/system/lz4.hpp>
#include <forkmap/system/lzma.hpp>
#include <forkmap/system/owner.hpp>
#include <forkmap/system/zlib.hpp>

namespace forkmap::detail {

/// Null for packing::none.
/// Errors: missing_library.
template <class Lazy = void> owner<unpacker> make_unpacker(packing method) {
  switch (method) {
    case packing::none:
      break;
    case packing::deflate:
      return make_zlib_unpacker(deflate_wrapping::none);
    case packing::zlib:
      return make_zlib_unpacker(deflate_wrapping::zlib);
    case packing::gzip:
      return make_zlib_unpacker(deflate_wrapping::gzip);
    case packing::bzip2:
      return make_bzip2_unpacker();
    case packing::xz:
      return make_lzma_unpacker(lzma_container::xz);
    case packing::lzma:
      return make_lzma_unpacker(lzma_container::alone);
    case packing::lz4:
      return make_lz4_unpacker();
  }
  return nullptr;
}

/// Null for packing::none.
/// Errors: missing_library.
template <class Lazy = void> owner<packer> make_packer(write_options const& options) {
  switch (options.method) {
    case packing::none:
      break;
    case packing::deflate:
      return make_zlib_packer(deflate_wrapping::none, options.level);
    case packing::zlib:
      return make_zlib_packer(deflate_wrapping::zlib, options.level);
    case packing::gzip:
      return make_zlib_packer(deflate_wrapping::gzip, options.level);
    case packing::bzip2:
      return make_bzip2_packer(options.level);
    case packing::xz:
      return make_lzma_packer(lzma_container::xz, options.level);
    case packing::lzma:
      return make_lzma_packer(lzma_container::alone, options.level);
    case packing::lz4:
      return make_lz4_packer(options.level);
  }
  return nullptr;
}

}  // namespace forkmap::detail
