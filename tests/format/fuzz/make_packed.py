#!/usr/bin/env python3
"""Writes corpus_packed: a byte that chooses the method of packed.cpp, and a compressed array.
good_* open as files without that byte, bad_* are refused, bare_* are streams without a head.

    /usr/bin/python3 tests/format/fuzz/make_packed.py
"""
import bz2
import gzip
import io
import lzma
import pathlib
import shutil
import struct
import zlib

import numpy as np

folder = pathlib.Path(__file__).parent / "corpus_packed"


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


A = npy(np.arange(50.0))
half = len(A) // 2


def lz4(data, checksum=False):
    """A frame of one stored block, as a compressor writes incompressible data; header checksum
    of the two descriptors used here."""
    check = {0x60: 0x82}[0x60]
    return (b"\x04\x22\x4d\x18\x60\x40" + bytes([check]) +
            struct.pack("<I", len(data) | 0x80000000) + data + bytes(4))


methods = {  # in the order of packing_methods
    "deflate": lambda d: zlib.compress(d, 9)[2:-4],
    "zlib": lambda d: zlib.compress(d, 6),
    "gzip": lambda d: gzip.compress(d, 6, mtime=0),
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda d: lzma.compress(d, lzma.FORMAT_ALONE),
    "lz4": lz4,
}
files = {}
for number, (name, pack) in enumerate(methods.items()):
    chosen = bytes([number])
    whole = pack(A)
    if name == "deflate":
        files["bare_" + name] = chosen + whole
        continue
    files["good_" + name] = chosen + whole
    files["good_members_" + name] = chosen + pack(A[:half]) + pack(A[half:])
    files["good_empty_member_" + name] = chosen + pack(A[:half]) + pack(b"") + pack(A[half:])
    files["good_zeros_after_" + name] = chosen + whole + bytes(512)
    files["bad_cut_" + name] = chosen + whole[:len(whole) // 2]
    files["bad_cut_1_" + name] = chosen + whole[:-1]
    files["bad_head_only_" + name] = chosen + whole[:6]
    files["bad_after_" + name] = chosen + whole + b"x"
    files["bad_short_" + name] = chosen + pack(A[:-1])
    files["bad_inside_" + name] = chosen + pack(b"no array")
    files["bad_empty_inside_" + name] = chosen + pack(b"")
    files["bad_twice_" + name] = chosen + pack(pack(A))
    claims = A.replace(b"(50,), }", b"(3000000000000,), }").replace(b"           \n", b"\n")
    files["bad_claims_" + name] = chosen + pack(claims)
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 0x55
    if name not in ("lz4", "lzma"):  # these have no checksum here
        files["bad_changed_" + name] = chosen + bytes(changed)
for number, name, wrong in ((1, "zlib", -1), (2, "gzip", -6), (2, "gzip_size", -1),
                            (3, "bz2", -2)):
    data = bytearray(methods[name.split("_")[0]](A))
    data[wrong] ^= 1
    files["bad_checksum_" + name] = bytes([number]) + bytes(data)
# A header that requests a dictionary of 1.5 GiB.
head = bytearray(lzma.compress(A, lzma.FORMAT_ALONE))
head[1:5] = struct.pack("<I", 3 << 29)
files["bad_memory_lzma"] = b"\5" + bytes(head)
files["bad_zlib_dictionary"] = b"\1" + b"\x78\xbb" + bytes(20)

shutil.rmtree(folder, ignore_errors=True)
folder.mkdir()
for name, data in files.items():
    (folder / name).write_bytes(data)
print(len(files), "files,", sum(map(len, files.values())), "bytes")
