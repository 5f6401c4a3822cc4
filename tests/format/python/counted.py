"""Arrays with elements 0, 1, 2, ... of every dtype, shape and order."""
import numpy as np

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
    """0, 1, 2, ... in C order of the indices, for any order in memory."""
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
