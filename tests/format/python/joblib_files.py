"""Writes joblib files of every kind for C++, or checks those that C++ has written.

joblib_files.py write <folder>     every dtype x protocol x container, each with every shape x order
joblib_files.py check <folder>     the files there, which C++ has copied from those of `write`
"""
import collections
import itertools
import os
import sys
import joblib
import numpy as np
from joblib.numpy_pickle import NumpyArrayWrapper, NumpyPickler
from counted import RECORDS, SCALARS, SHAPES, counted, records

PROTOCOLS = (2, 3, 4, 5)


def arrays(dtype):
    for shape, order in itertools.product(SHAPES, "CF"):
        yield f"{order}_{'x'.join(map(str, shape)) or 'scalar'}", counted(dtype, shape, order)


def containers(dtype):
    named = dict(arrays(dtype))
    yield "dict", named
    yield "list", list(named.values())
    yield "tuple", tuple(named.values())
    yield "nested", {"layers": [{"w": array, "n": i} for i, array in enumerate(named.values())],
                     "a b": named["C_2x3"], 7: (named["F_2x3"], "x", None)}


def dump_old(value, path, alignment):
    """As joblib up to 1.1 (no alignment), or into a stream that has no position (None)."""
    class Wrapper(NumpyPickler):
        def _create_array_wrapper(self, array):
            wrapper = super()._create_array_wrapper(array)
            if alignment == "absent":
                del wrapper.numpy_array_alignment_bytes
            else:
                wrapper.numpy_array_alignment_bytes = None
            return wrapper
    with open(path, "wb") as file:
        Wrapper(file, protocol=3).dump(value)


def plain():
    return {"none": None, "yes": True, "no": False, "int": -5, "long": 2**62, "negative": -2**63,
            "natural": 2**64 - 1, "huge": 2**70, "float": 0.1, "text": "hällo",
            "bytes": b"\x00\xff", "ints": [1, 2, 300], "floats": (0.5, 1, 2.5),
            "texts": ["a", "b", "ü"], "bools": [True, False], "mixed": [1, "x", None],
            "empty": [], "numpy": np.float64(2.5), "single": np.float32(0.5),
            "short": np.int16(-3), "truth": np.bool_(True), "a set": {5},
            "classes": [np.str_("a"), np.str_("h\u00e4\U0001f600"), np.str_("")],
            "foreign": np.dtype(">U2").type("\u00e4b"), "raw": np.bytes_(b"a\0\xff"),
            np.str_("key"): np.bytes_(b""),
            "ordered": collections.OrderedDict([("k", 1)]), "times": np.array(3, "M8[ns]")}


folder = sys.argv[2]
if sys.argv[1] == "write":
    for dtype, protocol in itertools.product(SCALARS, PROTOCOLS):
        for name, value in containers(dtype):
            joblib.dump(value, f"{folder}/{dtype}-{name}-{protocol}.joblib", protocol=protocol)
        for name, array in arrays(dtype):
            joblib.dump(array, f"{folder}/{dtype}-{name}-{protocol}.joblib", protocol=protocol)
    for dtype in SCALARS:
        for alignment in ("absent", "none"):
            dump_old(dict(arrays(dtype)), f"{folder}/{dtype}-dict-{alignment}.joblib", alignment)
        swapped = {k: a.astype(a.dtype.newbyteorder(">")) for k, a in arrays(dtype)}
        joblib.dump(swapped, f"{folder}/{dtype}-dict-foreign.joblib")
    for name, dtype in RECORDS.items():
        for protocol in PROTOCOLS:
            joblib.dump({"records": records(dtype, 5)},
                        f"{folder}/record-{name}-{protocol}.joblib", protocol=protocol)
    wide = np.dtype([(f"field{i}", "<f8") for i in range(2000)])
    joblib.dump([np.zeros(1, wide) for _ in range(40)], f"{folder}/wide.joblib")
    for protocol in PROTOCOLS:
        joblib.dump(plain(), f"{folder}/plain-{protocol}.joblib", protocol=protocol)
        joblib.dump([np.arange(3.)] * 2, f"{folder}/twice-{protocol}.joblib", protocol=protocol)
else:
    def check(got, wanted, file):
        assert type(got) is np.memmap or mode is None or wanted.size == 0, (file, type(got))
        assert got.shape == wanted.shape and got.dtype == wanted.dtype, (file, got.dtype)
        assert (got == wanted).all(), (file, got)
        if got.size > 1:
            assert got.flags.f_contiguous == wanted.flags.f_contiguous, file
        if type(got) is np.memmap:
            assert got.offset % 64 == 0, (file, got.offset)

    checked = 0
    for dtype in SCALARS:
        wanted = dict(arrays(dtype))
        full = {k: a for k, a in wanted.items() if a.size}  # NumPy cannot map empty arrays
        for mode in (None, "r", "r+", "c"):
            got = joblib.load(f"{folder}/{dtype}.full.joblib", mmap_mode=mode)
            assert list(got) == sorted(full), got.keys()
            for name, array in full.items():
                check(got[name], array, name)
                one = joblib.load(f"{folder}/{dtype}.{name}.pkl", mmap_mode=mode)
                check(one, array, name)
                checked += 2
        mode = None
        got = joblib.load(f"{folder}/{dtype}.list.joblib")
        assert len(got) == len(wanted)
        for array, one in zip(wanted.values(), got):
            check(one, array, dtype)
            checked += 1
    for mode in (None, "r"):
        got = joblib.load(f"{folder}/records.joblib", mmap_mode=mode)
        wanted = records(RECORDS["aligned"], 5)
        assert got["records"].dtype.names == wanted.dtype.names
        for field in ("x", "id", "n", "name", "ok"):
            assert (got["records"][field] == wanted[field]).all(), field
        assert got["records"].dtype["in"].base.names == ("u", "k")
        assert got["records"].dtype["n"].shape == (2, 2)
        assert got["records"][3]["in"]["k"][1] == -3
        checked += 1
    mode = None
    for method in ("zlib", "gzip", "bz2", "xz", "lzma"):
        packed = f"{folder}/packed-{method}.joblib"
        assert os.path.getsize(packed) < 10000, packed
        check(joblib.load(packed)["w"], np.full(10000, 1.5), packed)
        checked += 1
    print(checked)
