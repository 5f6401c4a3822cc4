"""Writes .npz and compressed files for C++, or checks those that C++ has written.

npz.py archives <folder>    by savez and savez_compressed
npz.py large <folder>       an .npy file, compressed
npz.py joblib <folder>      a joblib file, and compressed ones of the same
npz.py check <folder>       copied.npz, packed.npz
npz.py check_many <folder>  many.npz
"""
import bz2
import gzip
import lzma
import os
import sys
import zipfile
import zlib
import joblib
import numpy as np
from counted import SCALARS, SHAPES, counted


def arrays():
    result = {}
    for dtype in SCALARS:
        for shape in SHAPES:
            for order in "CF":
                array = counted(dtype, shape, order)
                name = f"{dtype}-{'x'.join(map(str, shape)) or 'scalar'}-{order}"
                result[name] = array
                if array.dtype.byteorder != "|" and array.dtype.kind != "S":
                    result[name + "-foreign"] = array.astype(array.dtype.newbyteorder(">"))
    return result


large = np.arange(300_000.0).reshape(500, 600)
os.chdir(sys.argv[2])
if sys.argv[1] == "archives":
    np.savez("stored.npz", **arrays())
    np.savez_compressed("deflated.npz", **arrays())
    np.savez("numbered.npz", np.arange(3.0), np.arange(4.0))
    np.savez("objects.npz", x=np.arange(3.0), o=np.array([None, "a"], object))
    np.savez("\u00e4.npz", **{"\u00e4/\u03b2": np.arange(5.0)})
    with zipfile.ZipFile("bzip2.npz", "w", zipfile.ZIP_BZIP2) as file:
        file.writestr("a.npy", b"x" * 100)
elif sys.argv[1] == "large":
    np.save("large.npy", large)
    with open("large.npy", "rb") as file:
        data = file.read()
    for name, pack in (("gz", lambda d: gzip.compress(d, 1)), ("bz2", bz2.compress),
                       ("xz", lambda d: lzma.compress(d, preset=0)),
                       ("lzma", lambda d: lzma.compress(d, lzma.FORMAT_ALONE, preset=0)),
                       ("zlib", zlib.compress)):
        with open("large.npy." + name, "wb") as file:
            file.write(pack(data))
elif sys.argv[1] == "joblib":
    value = {"large": large, "text": "some"}
    joblib.dump(value, "plain.joblib")
    for method in ("zlib", "gzip", "bz2", "lzma", "xz"):
        joblib.dump(value, method + ".joblib", compress=(method, 3))
elif sys.argv[1] == "check_many":
    with np.load("many.npz") as file:
        assert len(file.files) == 66_000
        for i in (0, 1, 65_534, 65_535, 65_536, 65_999):
            assert file[f"n/{i}"] == i
else:
    want = arrays()
    for name in ("copied.npz", "packed.npz"):
        assert zipfile.ZipFile(name).testzip() is None, name
        with np.load(name) as file:
            assert file.files == [k for k in want if not k.endswith("-foreign")], file.files
            for key in file.files:
                array, got = want[key], file[key]
                assert got.dtype == array.dtype and got.shape == array.shape, (key, got)
                assert (got == array).all(), key
                assert got.flags.f_contiguous == array.flags.f_contiguous, key
    assert all(each.compress_type == zipfile.ZIP_DEFLATED and each.compress_size < each.file_size
               for each in zipfile.ZipFile("packed.npz").infolist())
    print(len(want))
