"""Writes .npy files of every kind to be read in C++, or checks what C++ has written of them.

npy.py write <folder>     every dtype x shape x order x version, named so; the elements are counted
npy.py check <folder>     the files there, which C++ has copied from those of `write`
"""
import itertools
import os
import sys
import warnings
import numpy as np
from numpy.lib import format as npy

warnings.simplefilter("ignore")  # about version 3.0

SCALARS = "b1 i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8 f16 c8 c16 c32 S3 U5".split()
SHAPES = [(), (0,), (1,), (7,), (2, 3), (3, 0, 2), (2, 3, 4), (1, 1, 1, 1, 2, 1)]
PACKED = [("x", "<f8"), ("id", "<i4"), ("n", "<i2", (2, 2)), ("name", "S5"), ("ok", "?"),
          ("in", [("u", "<f4"), ("k", "i1")], (2,))]
RECORDS = {
    "packed": np.dtype(PACKED),
    "aligned": np.dtype(PACKED, align=True),
    "foreign": np.dtype(PACKED).newbyteorder(">"),
    "reordered": np.dtype(PACKED[::-1]),
}


def counted(dtype, shape, order):
    """0, 1, 2, ... in C order of the indices, whatever the order in memory."""
    dtype = np.dtype(dtype)
    n = int(np.prod(shape, dtype=int))
    numbers = np.arange(n) % 100
    if dtype.kind == "b":
        flat = numbers % 2 == 1
    elif dtype.kind == "c":
        flat = numbers * (1 + 2j)
    elif dtype.kind in "SU":
        flat = np.array([str(i) for i in numbers], dtype)
    else:
        flat = numbers
    return np.array(np.asarray(flat).astype(dtype).reshape(shape), order=order)


def records(dtype, n):
    result = np.zeros(n, dtype)
    for i in range(n):
        result[i]["x"] = i + 0.5
        result[i]["id"] = -i
        result[i]["n"] = [[i, i + 1], [i + 2, i + 3]]
        result[i]["name"] = str(i).encode()
        result[i]["ok"] = i % 2 == 1
        result[i]["in"]["u"] = [i, i + 0.25]
        result[i]["in"]["k"] = [i, -i]
    return result


def cases():
    for dtype, shape, order, version in itertools.product(SCALARS, SHAPES, "CF", (1, 2, 3)):
        array = counted(dtype, shape, order)
        extents = "x".join(map(str, shape)) or "scalar"
        yield f"{dtype}-{extents}-{order}-{version}", array, version
        if version == 1 and array.dtype.byteorder != "|" and array.dtype.kind not in "S":
            yield f"{dtype}-{extents}-{order}-foreign", array.astype(array.dtype.newbyteorder(">")), 1
    for name, dtype in RECORDS.items():
        for version in (1, 2, 3):
            yield f"record-{name}-{version}", records(dtype, 5), version


folder = sys.argv[2]
if sys.argv[1] == "write":
    for name, array, version in cases():
        with open(os.path.join(folder, name + ".npy"), "wb") as file:
            npy.write_array(file, array, version=(version, 0))
else:
    checked = 0
    for name, array, version in cases():
        for file in (name + ".mapped.npy", name + ".copied.npy"):
            path = os.path.join(folder, file)
            if not os.path.exists(path):
                continue
            got = np.load(path, mmap_mode="r") if array.size else np.load(path)
            assert got.shape == array.shape, (file, got.shape)
            assert got.dtype.newbyteorder("<") == array.dtype.newbyteorder("<") or \
                array.dtype.names, (file, got.dtype)
            if array.dtype.names:
                assert set(got.dtype.names) == set(array.dtype.names), (file, got.dtype)
                for field in array.dtype.names:
                    if field == "in":
                        assert all((got[field][k] == array[field][k]).all() for k in "uk"), file
                    else:
                        assert (got[field] == array[field]).all(), (file, field)
            else:
                assert (got == array).all(), (file, got)
                if got.size > 1 and version == 1 and "foreign" not in name:
                    assert got.flags.f_contiguous == array.flags.f_contiguous, file
            checked += 1
    print(checked)
