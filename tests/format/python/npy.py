"""Writes .npy files of every kind for C++, or checks those that C++ has written.

npy.py write <folder>     every dtype x shape x order x version, named so; the elements are counted
npy.py check <folder>     the files there, which C++ has copied from those of `write`
"""
import itertools
import os
import sys
import warnings
import numpy as np
from numpy.lib import format as npy
from counted import RECORDS, SCALARS, SHAPES, counted, records

warnings.simplefilter("ignore")  # about version 3.0


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
