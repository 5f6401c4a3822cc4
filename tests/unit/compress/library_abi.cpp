// The declarations of compression libraries in forkmap against the libraries' own headers.
// SPDX-License-Identifier: MIT
#include <bzlib.h>
#include <lz4frame.h>
#include <lzma.h>
#include <zlib.h>

#include <cstddef>
#include <utility>

#include <forkmap/detail/compress/bzip2.hpp>
#include <forkmap/detail/compress/lz4.hpp>
#include <forkmap/detail/compress/lzma.hpp>
#include <forkmap/detail/compress/zlib.hpp>

#include "support/catch.hpp"

namespace detail = forkmap::detail;

// Member by member: where it lies, and how large it is.
#define SAME_MEMBER(ours, our_member, theirs, their_member)                     \
  static_assert(offsetof(ours, our_member) == offsetof(theirs, their_member) && \
                sizeof(std::declval<ours&>().our_member) == sizeof(std::declval<theirs&>().their_member))

TEST_CASE("compression libraries: forkmap declares zlib as its header does", "[compress]") {
  using ours = detail::zlib_stream;
  static_assert(sizeof(ours) == sizeof(z_stream) && alignof(ours) == alignof(z_stream));
  SAME_MEMBER(ours, next_in, z_stream, next_in);
  SAME_MEMBER(ours, avail_in, z_stream, avail_in);
  SAME_MEMBER(ours, total_in, z_stream, total_in);
  SAME_MEMBER(ours, next_out, z_stream, next_out);
  SAME_MEMBER(ours, avail_out, z_stream, avail_out);
  SAME_MEMBER(ours, total_out, z_stream, total_out);
  SAME_MEMBER(ours, msg, z_stream, msg);
  SAME_MEMBER(ours, state, z_stream, state);
  SAME_MEMBER(ours, opaque, z_stream, opaque);
  SAME_MEMBER(ours, data_type, z_stream, data_type);
  SAME_MEMBER(ours, adler, z_stream, adler);
  CHECK(detail::zlib_major_version[0] == ZLIB_VERSION[0]);
  CHECK(detail::zlib_no_flush == Z_NO_FLUSH);
  CHECK(detail::zlib_finish == Z_FINISH);
  CHECK(detail::zlib_ok == Z_OK);
  CHECK(detail::zlib_stream_end == Z_STREAM_END);
  CHECK(detail::zlib_need_dict == Z_NEED_DICT);
  CHECK(detail::zlib_mem_error == Z_MEM_ERROR);
  CHECK(detail::zlib_buf_error == Z_BUF_ERROR);
  CHECK(detail::zlib_deflated == Z_DEFLATED);
  CHECK(detail::zlib_default_strategy == Z_DEFAULT_STRATEGY);
}

TEST_CASE("compression libraries: forkmap declares libbz2 as its header does", "[compress]") {
  using ours = detail::bzip2_stream;
  static_assert(sizeof(ours) == sizeof(bz_stream) && alignof(ours) == alignof(bz_stream));
  SAME_MEMBER(ours, next_in, bz_stream, next_in);
  SAME_MEMBER(ours, avail_in, bz_stream, avail_in);
  SAME_MEMBER(ours, next_out, bz_stream, next_out);
  SAME_MEMBER(ours, avail_out, bz_stream, avail_out);
  SAME_MEMBER(ours, state, bz_stream, state);
  SAME_MEMBER(ours, opaque, bz_stream, opaque);
  CHECK(detail::bzip2_run == BZ_RUN);
  CHECK(detail::bzip2_finish == BZ_FINISH);
  CHECK(detail::bzip2_ok == BZ_OK);
  CHECK(detail::bzip2_stream_end == BZ_STREAM_END);
  CHECK(detail::bzip2_mem_error == BZ_MEM_ERROR);
  CHECK(detail::bzip2_data_error_magic == BZ_DATA_ERROR_MAGIC);
}

TEST_CASE("compression libraries: forkmap declares liblzma as its header does", "[compress]") {
  using ours = detail::lzma_stream_state;
  static_assert(sizeof(ours) == sizeof(lzma_stream) && alignof(ours) == alignof(lzma_stream));
  SAME_MEMBER(ours, next_in, lzma_stream, next_in);
  SAME_MEMBER(ours, avail_in, lzma_stream, avail_in);
  SAME_MEMBER(ours, total_in, lzma_stream, total_in);
  SAME_MEMBER(ours, next_out, lzma_stream, next_out);
  SAME_MEMBER(ours, avail_out, lzma_stream, avail_out);
  SAME_MEMBER(ours, total_out, lzma_stream, total_out);
  SAME_MEMBER(ours, allocator, lzma_stream, allocator);
  SAME_MEMBER(ours, internal, lzma_stream, internal);
  static_assert(sizeof(detail::lzma_options) >= 2 * sizeof(lzma_options_lzma));
  CHECK(detail::lzma_run == LZMA_RUN);
  CHECK(detail::lzma_finish == LZMA_FINISH);
  CHECK(detail::lzma_ok == LZMA_OK);
  CHECK(detail::lzma_stream_end == LZMA_STREAM_END);
  CHECK(detail::lzma_mem_error == LZMA_MEM_ERROR);
  CHECK(detail::lzma_memlimit_error == LZMA_MEMLIMIT_ERROR);
  CHECK(detail::lzma_format_error == LZMA_FORMAT_ERROR);
  CHECK(detail::lzma_options_error == LZMA_OPTIONS_ERROR);
  CHECK(detail::lzma_buf_error == LZMA_BUF_ERROR);
  CHECK(detail::lzma_check_crc64 == LZMA_CHECK_CRC64);
  CHECK(detail::lzma_preset_default == LZMA_PRESET_DEFAULT);
}

TEST_CASE("compression libraries: forkmap declares liblz4 as its header does", "[compress]") {
  using ours = detail::lz4_preferences;
  using theirs = LZ4F_preferences_t;
  static_assert(sizeof(ours) == sizeof(theirs) && alignof(ours) == alignof(theirs));
  SAME_MEMBER(ours, block_size, theirs, frameInfo.blockSizeID);
  SAME_MEMBER(ours, block_mode, theirs, frameInfo.blockMode);
  SAME_MEMBER(ours, content_checksum, theirs, frameInfo.contentChecksumFlag);
  SAME_MEMBER(ours, frame_type, theirs, frameInfo.frameType);
  SAME_MEMBER(ours, content_bytes, theirs, frameInfo.contentSize);
  SAME_MEMBER(ours, dictionary, theirs, frameInfo.dictID);
  SAME_MEMBER(ours, block_checksum, theirs, frameInfo.blockChecksumFlag);
  SAME_MEMBER(ours, compression_level, theirs, compressionLevel);
  SAME_MEMBER(ours, auto_flush, theirs, autoFlush);
  CHECK(detail::lz4_version == LZ4F_VERSION);
  CHECK(LZ4F_contentChecksumEnabled == 1);
}
