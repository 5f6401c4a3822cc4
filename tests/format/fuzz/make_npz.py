#!/usr/bin/env python3
"""Writes corpus_npz: good_* are archives that open, bad_* are archives that are refused.

    /usr/bin/python3 tests/format/fuzz/make_npz.py
"""
import io
import pathlib
import shutil
import struct
import zipfile
import zlib

import numpy as np

folder = pathlib.Path(__file__).parent / "corpus_npz"


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


A = npy(np.arange(3.0))
B = npy(np.arange(4, dtype="<i4").reshape(2, 2))


def deflate(data):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


class Member:
    """One member; keywords overwrite what its local header (l_*) or its entry (c_*) says."""

    def __init__(self, name, data, method=0, **other):
        self.name, self.data = name, data
        self.packed = other.pop("packed", None) or (deflate(data) if method == 8 else data)
        self.fields = dict(
            flags=0, method=method, crc=zlib.crc32(data), packed=len(self.packed),
            unpacked=len(data), name=name, extra=b"", before=b"", after=b"",
            comment=b"", disk=0, offset=None, magic=b"PK\3\4", c_magic=b"PK\1\2")
        self.fields.update({k: v for k, v in other.items() if k[:2] not in ("l_", "c_")})
        self.other = {k: v for k, v in other.items() if k[:2] in ("l_", "c_")}

    def get(self, where, key):
        return self.other.get(where + key, self.fields.get(key, self.fields.get(where + key)))

    def local(self):
        f = lambda key: self.get("l_", key)
        return (self.fields["magic"] + struct.pack(
            "<HHHHHIIIHH", 20, f("flags"), f("method"), 0, 0x21, f("crc"), f("packed"),
            f("unpacked"), f("name_bytes") if "l_name_bytes" in self.other else len(f("name")),
            f("extra_bytes") if "l_extra_bytes" in self.other else len(f("extra")))
            + f("name") + f("extra") + self.packed + self.fields["after"])

    def entry(self, offset):
        f = lambda key: self.get("c_", key)
        return (self.other.get("c_magic", b"PK\1\2") + struct.pack(
            "<HHHHHHIIIHHHHHII", 20, 20, f("flags"), f("method"), 0, 0x21, f("crc"), f("packed"),
            f("unpacked"), self.other.get("c_name_bytes", len(f("name"))),
            self.other.get("c_extra_bytes", len(f("extra"))), len(f("comment")), f("disk"), 0, 0,
            offset if f("offset") is None else f("offset"))
            + f("name") + f("extra") + f("comment"))


def archive(members, before=b"", after=b"", comment=b"", zip64=None, **end):
    out, offsets = before, []
    for member in members:
        out += member.fields["before"]
        offsets.append(len(out) if "base" not in end else len(out) - len(before))
        out += member.local()
    start = len(out) if "base" not in end else len(out) - len(before)
    entries = b"".join(m.entry(o) for m, o in zip(members, offsets))
    out += entries
    n, size, offset = len(members), len(entries), start
    if zip64 is not None:
        at = len(out)
        record = dict(size=44, disk=0, start=0, here=n, all=n, bytes=size, offset=offset)
        record.update({k: v for k, v in zip64.items() if k in record})
        out += b"PK\6\6" + struct.pack("<QHHIIQQQQ", record["size"], 45, 45, record["disk"],
                                       record["start"], record["here"], record["all"],
                                       record["bytes"], record["offset"])
        out += b"PK\6\7" + struct.pack("<IQI", 0, zip64.get("at", at), zip64.get("disks", 1))
        n, size, offset = 0xffff, 0xffffffff, 0xffffffff
    out += b"PK\5\6" + struct.pack(
        "<HHHHIIH", end.get("disk", 0), end.get("start", 0), end.get("here", n),
        end.get("all", n), end.get("bytes", size), end.get("offset", offset),
        end.get("comment_bytes", len(comment))) + comment
    return out + after


def wide(*numbers):
    return struct.pack("<HH" + "Q" * len(numbers), 1, 8 * len(numbers), *numbers)


full32 = 0xffffffff
a = lambda **other: Member(b"a.npy", A, **other)
b = lambda **other: Member(b"b.npy", B, **other)
files = {}

file = io.BytesIO()
np.savez(file, a=np.arange(3.0), b=np.arange(4))
files["good_savez"] = file.getvalue()
file = io.BytesIO()
np.savez_compressed(file, a=np.zeros(100), b=np.arange(4))
files["good_savez_compressed"] = file.getvalue()


class Pipe(io.RawIOBase):
    """A writer that cannot seek back writes the sizes after the data."""

    def __init__(self):
        self.data = b""

    def writable(self):
        return True

    def write(self, data):
        self.data += bytes(data)
        return len(data)


for name, method in (("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)):
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", method) as out:
        out.writestr("a.npy", A)
        out.writestr("b.npy", B)
    files["good_descriptor_" + name] = pipe.data

files["good_plain"] = archive([a(), b()])
files["good_empty"] = archive([])
files["good_deflated"] = archive([a(method=8), b(method=8)])
files["good_comment"] = archive([a()], comment=b"a comment")
files["good_member_comment"] = archive([a(comment=b"first"), b()])
files["good_gap"] = archive([a(), b(before=b"PK\3\4 no member any more")])
files["good_other_member"] = archive([a(), Member(b"notes.txt", b"no array")])
files["good_folder"] = archive([Member(b"f/", b""), Member(b"f/a.npy", A)])
files["good_utf8"] = archive([Member("\u00e4.npy".encode(), A, flags=0x800)])
files["good_extra"] = archive([a(l_extra=struct.pack("<HHH8x", 0xd935, 10, 64))])
files["good_short_extra"] = archive([a(l_extra=b"\0\0\0")])
files["good_zip64_end"] = archive([a(), b()], zip64={})
files["good_zip64_sizes"] = archive([a(
    packed=None, extra=wide(len(A), len(A)), l_packed=full32, l_unpacked=full32,
    c_packed=full32, c_unpacked=full32)])
files["good_zip64_offset"] = archive([a(), b(c_offset=full32, c_extra=wide(
    30 + 5 + len(A)))])
files["good_zip64_unused"] = archive([a(l_extra=wide(len(A), len(A)))])
files["good_long_name"] = archive([Member(b"n" * 2000 + b".npy", A)])

files["bad_cut_1"] = files["good_plain"][:-1]
files["bad_cut_directory"] = files["good_plain"][:-30]
files["bad_cut_all"] = files["good_plain"][:100]
files["bad_only_magic"] = b"PK\3\4"
files["bad_only_end"] = b"PK\5\6"
files["bad_after"] = archive([a()], after=b"x")
files["bad_before"] = archive([a()], before=b"PK\3\4 in front", base=0)
files["bad_comment_short"] = archive([a()], comment=b"comment", comment_bytes=6)
files["bad_comment_long"] = archive([a()], comment=b"comment", comment_bytes=8)
# The comment contains an end record too, so the archive is ambiguous.
for name, rest in (("", 40), ("_near", 2)):
    inner = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 0, 0, 0, 0, rest) + bytes(rest)
    files["bad_two_ends" + name] = archive([a()], comment=inner)
files["bad_disk"] = archive([a()], disk=1)
files["bad_disk_start"] = archive([a()], start=1)
files["bad_entries_here"] = archive([a()], here=0)
files["bad_entries_more"] = archive([a()], here=2, all=2)
files["bad_entries_less"] = archive([a(), b()], here=1, all=1)
files["bad_entries_most"] = archive([a()], here=65535, all=65535)
files["bad_directory_offset_low"] = archive([a()], offset=0)
files["bad_directory_offset_high"] = archive([a()], offset=2**31)
files["bad_directory_bytes"] = archive([a()], bytes=1)
files["bad_zip64_at"] = archive([a()], zip64={"at": 0})
files["bad_zip64_at_high"] = archive([a()], zip64={"at": 2**63})
files["bad_zip64_size"] = archive([a()], zip64={"size": 2**64 - 1})
files["bad_zip64_entries"] = archive([a()], zip64={"here": 2**64 - 1, "all": 2**64 - 1})
files["bad_zip64_offset"] = archive([a()], zip64={"offset": 2**64 - 10})
files["bad_zip64_bytes"] = archive([a()], zip64={"bytes": 2**64 - 10})
files["bad_zip64_disks"] = archive([a()], zip64={"disks": 2})
files["bad_zip64_disagrees"] = archive([a()], zip64={}, here=2, all=2)
files["bad_zip64_missing"] = archive([a(c_packed=full32, c_unpacked=full32)])
files["bad_zip64_short"] = archive([a(c_packed=full32, c_unpacked=full32, c_extra=wide(len(A)))])
files["bad_zip64_huge"] = archive([a(c_packed=full32, c_unpacked=full32,
                                     c_extra=wide(2**64 - 1, 2**64 - 1))])
files["bad_zip64_wraps"] = archive([a(c_packed=full32, c_unpacked=full32,
                                      c_extra=wide(2**64 - 40, 2**64 - 40))])
files["bad_zip64_offset_huge"] = archive([a(c_offset=full32, c_extra=wide(2**64 - 1))])
files["bad_central_magic"] = archive([a(c_magic=b"PK\1\3")])
files["bad_central_name"] = archive([a(c_name_bytes=65535)])
files["bad_central_extra"] = archive([a(c_extra_bytes=65535)])
files["bad_central_extra_record"] = archive([a(c_extra=b"\1\0\xff\xff")])
files["bad_twice"] = archive([a(), a()])
files["bad_same_place"] = archive([a(), b(c_offset=0)])
files["bad_overlap"] = archive([a(c_packed=len(A) + 60, c_unpacked=len(A) + 60), b()])
files["bad_overlap_directory"] = archive([a(c_packed=len(A) + 1, c_unpacked=len(A) + 1)])
files["bad_offset_past"] = archive([a(c_offset=10**6)])
files["bad_name_zero"] = archive([Member(b"a\0.npy", A)])
files["bad_disk_member"] = archive([a(c_disk=1)])

# The archive opens, but its only array does not.
files["bad_local_magic"] = archive([a(magic=b"PK\3\5")])
files["bad_local_magic_first"] = archive([Member(b"x", b""), a(magic=b"PK\3\5")])
files["bad_local_name"] = archive([a(l_name=b"b.npy")])
files["bad_local_name_long"] = archive([a(l_name_bytes=65535)])
files["bad_local_extra_long"] = archive([a(l_extra_bytes=65535)])
files["bad_local_crc"] = archive([a(l_crc=1)])
files["bad_local_packed"] = archive([a(l_packed=1)])
files["bad_local_unpacked"] = archive([a(l_unpacked=1)])
files["bad_local_method"] = archive([a(l_method=8)])
files["bad_local_flags"] = archive([a(l_flags=8)])
files["bad_local_extra_record"] = archive([a(l_extra=b"\1\0\xff\xff")])
files["bad_local_pushes"] = archive([a(l_extra=b"\0" * 40, c_packed=len(A), packed=A[:-30])])
files["bad_encrypted"] = archive([a(flags=1)])
files["bad_strongly_encrypted"] = archive([a(flags=0x41)])
files["bad_masked"] = archive([a(flags=0x2000)])
files["bad_patch"] = archive([a(flags=0x20)])
files["bad_method_bzip2"] = archive([a(method=12)])
files["bad_method_zstd"] = archive([a(method=93)])
files["bad_method_unknown"] = archive([a(method=77)])
files["bad_stored_sizes"] = archive([a(unpacked=len(A) + 1)])
files["bad_crc_stored"] = archive([a(crc=1)])
files["bad_crc_deflated"] = archive([a(method=8, crc=1)])
files["bad_deflated_more"] = archive([a(method=8, unpacked=len(A) - 1)])
files["bad_deflated_less"] = archive([a(method=8, unpacked=len(A) + 1)])
files["bad_deflated_ratio"] = archive([a(method=8, unpacked=2**31)])
files["bad_deflated_cut"] = archive([a(method=8, packed=deflate(A)[:-3])])
files["bad_deflated_after"] = archive([a(method=8, packed=deflate(A) + b"xx")])
files["bad_deflated_garbage"] = archive([a(method=8, packed=b"\xff" * 40)])
files["bad_no_array"] = archive([Member(b"a.npy", b"no array at all")])
files["bad_empty_member"] = archive([Member(b"a.npy", b"")])
files["bad_only_other"] = archive([Member(b"notes.txt", b"no array")])
files["bad_short_array"] = archive([Member(b"a.npy", A[:-1])])
big = A.replace(b"(3,), }", b"(3000000000000,), }").replace(b"            \n", b"\n")
files["bad_claims"] = archive([Member(b"a.npy", big)])
files["bad_claims_deflated"] = archive([Member(b"a.npy", big, method=8)])
files["bad_objects"] = archive([Member(b"a.npy", npy(np.array([None])))])

shutil.rmtree(folder, ignore_errors=True)
folder.mkdir()
for name, data in files.items():
    (folder / name).write_bytes(data)
print(len(files), "files,", sum(map(len, files.values())), "bytes")
