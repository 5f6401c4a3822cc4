"""Makes the files in this folder with NumPy. Run with NumPy 1.24; not part of the tests."""
import os
import numpy as np
from numpy.lib import format as npy

os.chdir(os.path.dirname(os.path.abspath(__file__)))


def save(name, array, version=None):
    with open(name + ".npy", "wb") as file:
        if version:
            npy.write_array(file, array, version=version)
        else:
            np.save(file, array)


def filled(dtype):  # 0 1 2 / 3 4 5, times 1 + 2i where complex, odd ones true where bool
    numbers = np.arange(6).reshape(2, 3)
    if dtype == "b1":
        return numbers % 2 == 1
    if dtype.startswith("c"):
        return (numbers * (1 + 2j)).astype(dtype)
    return numbers.astype(dtype)


for dtype in "b1 i1 i2 i4 i8 u1 u2 u4 u8 f4 f8 f16 c8 c16 c32".split():
    save(dtype, filled(dtype))
save("f8_fortran", np.asfortranarray(filled("f8")))
save("f8_vector", np.arange(5.0))
save("f8_scalar", np.array(2.5))
save("f8_empty", np.empty((0, 3)))
save("f8_rank_9", np.arange(2.0).reshape(1, 1, 1, 1, 2, 1, 1, 1, 1))
save("f8_version_2", filled("f8"), (2, 0))
save("f8_version_3", filled("f8"), (3, 0))
for dtype in "i2 i4 u8 f4 f8 c8 c16".split():
    save(dtype + "_big_endian", filled(dtype).astype(">" + dtype))
save("f2", filled("f2"))
save("S3", np.array([b"ab", b"cde"]))
save("U5", np.array(["ab", "cd\u00e9fg"]))
save("M8", np.array(["2020-01-01"], dtype="M8[ns]"))
save("records", np.zeros(2, dtype=[("x", "<f8"), ("n", "<i4", (3,))]))
save("objects", np.array([None, {}], dtype=object))
