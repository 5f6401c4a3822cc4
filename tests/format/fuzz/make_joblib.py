#!/usr/bin/env python3
"""Writes corpus_joblib: pickles that joblib.load() reads (good_*), and broken or hostile ones (bad_*).

    /usr/bin/python3 tests/format/fuzz/make_joblib.py
"""
import collections
import io
import os
import pathlib
import pickle
import shutil

import joblib
import numpy as np

folder = pathlib.Path(__file__).parent / "corpus_joblib"
shutil.rmtree(folder, ignore_errors=True)
folder.mkdir()


def write(name, content):
    (folder / name).write_bytes(content)


def dumped(value, protocol=4):
    file = io.BytesIO()
    joblib.dump(value, file, protocol=protocol)
    return file.getvalue()


RECORD = [("x", "<f8"), ("n", "<i4", (3,)), (("a title", "s"), "S3"), ("in", [("a", "<f4")])]
for name, value in {
    "array": np.arange(2.0),
    "scalar": np.array(2.5),
    "empty": np.zeros((0, 3)),
    "fortran": np.asfortranarray(np.zeros((2, 2), "i1")),
    "foreign": np.zeros(2, ">i2"),
    "texts": np.array(["a", "bc"]),
    "bytes": np.array([b"a"]),
    "times": np.array(1, "M8[3s]"),
    "records": np.zeros(2, RECORD),
    "list": [np.zeros(1, "i1"), np.zeros(2, "u1")],
    "dict": {"w": [np.zeros(1, "i1")], "a b": 1, 7: 2.5, (1, "x"): None, "s": "text"},
    "numbers": [0, -1, 255, 65535, 2**31, 2**63, 2**70, -2**63, 0.5, True, None],
    "numpy_numbers": {"f": np.float64(2.5), "i": np.int16(-3), "b": np.bool_(True)},
    "others": {"o": collections.OrderedDict(a=1), "s": {1, 2}, "f": frozenset("a"), "b": b"\xff",
               "e": b"", "ba": bytearray(b"1")},
    "nested": [[[1], [2]], {"k": {"l": [None, "x"]}}],
}.items():
    for protocol in (2, 5):
        write(f"good_{name}_{protocol}", dumped(value, protocol))
shared = [np.zeros(1, "i1"), 1]
write("good_shared", dumped({"a": shared, "b": shared}))
write("good_several", dumped([1]) + dumped([2]))

A = dumped(np.arange(2.0))
P = b"\x80\x04"


def changed(name, old, new, source=A):
    assert source.count(old) >= 1, name
    write(f"bad_{name}", source.replace(old, new, 1))


changed("order", b"\x8c\x01C", b"\x8c\x01K")
changed("shape_negative", b"K\x02\x85", b"J\xfe\xff\xff\xff\x85")
changed("shape_long", b"K\x02\x85", b"K\x03\x85")
changed("shape_huge", b"K\x02\x85", b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85")
changed("shape_wraps", b"K\x02\x85", b"(" + b"\x8a\x05\0\0\0\0\1" * 2 + b"t")
changed("shape_rank_65", b"K\x02\x85", b"(" + b"K\x01" * 65 + b"t")
changed("shape_list", b"K\x02\x85", b"](K\x02e")
changed("dtype_unknown", b"\x8c\x02f8", b"\x8c\x02f3")
changed("dtype_object", b"\x8c\x02f8", b"\x8c\x02O8")
changed("dtype_order", b"\x8c\x01<", b"\x8c\x01|")
changed("dtype_version", b"(K\x03\x8c", b"(K\x09\x8c")
changed("dtype_no_state", b"t\x94b\x8c\x0aallow", b"t0\x8c\x0aallow")
changed("padding_long", b"K\x10ub", b"K\x10ub\xff")
changed("no_shape", b"\x8c\x05shape", b"\x8c\x05shapf")
changed("wrapper_of_another", b"numpy_pickle", b"numpy_pickld")
changed("ndarray_wrapper", b"\x8c\x11NumpyArrayWrapper", b"\x8c\x0eNDArrayWrapper")
changed("allow_mmap", b"allow_mmap\x94\x88", b"allow_mmap\x94\x89")
for cut in (1, 2, 3, 11, 60, 150, 215, 217, len(A) - 1):
    write(f"bad_cut_{cut}", A[:cut])
R = dumped(np.zeros(2, RECORD))
changed("field_offset", b"K\x08\x86", b"K\x7f\x86", R)
changed("field_twice", b"\x8c\x01x", b"\x8c\x01n", R)
changed("field_object", b"\x8c\x02f8", b"\x8c\x02O8", R)

for name, value in {"objects": np.array([None, {}]), "class": collections.Counter("ab"),
                    "complex": 1j, "dtype_class": np.float64, "range": range(3)}.items():
    write(f"bad_{name}", dumped(value))
write("bad_plain_pickle", pickle.dumps(np.arange(2.0), 4))
write("bad_protocol_0", pickle.dumps({"a": [1]}, 0))
write("bad_protocol_1", pickle.dumps({"a": [1]}, 1))
write("bad_protocol_6", b"\x80\x06N.")


class Evil:
    def __reduce__(self):
        return os.system, ("true",)


for protocol in (2, 4):
    write(f"bad_system_{protocol}", pickle.dumps([Evil()], protocol))
write("bad_eval", P + b"cbuiltins\neval\n\x8c\x011\x85R.")
write("bad_persistent", P + b"\x8c\x01aQ.")
write("bad_extension", P + b"\x82\x01.")
write("bad_buffer", P + b"\x97.")
write("bad_instance", P + b"(cos\nsystem\no.")

write("bad_empty_stack", P + b".")
write("bad_two_values", P + b"NN.")
write("bad_mark", P + b"(N.")
write("bad_no_mark", P + b"Nt.")
write("bad_below_mark", P + b"](Na.")
write("bad_append", P + b"NNa.")
write("bad_odd_dict", P + b"}(Nu.")
write("bad_key_twice", P + b"}(\x8c\x01aN\x8c\x01aNu.")
write("bad_memo", P + b"h\x00.")
write("bad_memo_far", P + b"Nr\xff\xff\xff\xff.")
write("bad_text_4_gib", P + b"X\xff\xff\xff\xff.")
write("bad_text_2_64", P + b"\x8d" + b"\xff" * 8 + b".")
write("bad_long_2_gib", P + b"\x8b\xff\xff\xff\x7f.")
write("bad_name_without_end", P + b"c" + b"x" * 300)
write("bad_circle", P + b"]\x94h\x00a.")
write("bad_deep", P + b"]" * 200 + b"a" * 199 + b".")
laughs = b"](NK\x01e\x94"
for i in range(40):
    laughs += b"0]\x94(h" + bytes([i]) * 1 + b"h" + bytes([i]) + b"e"
write("bad_laughs", P + laughs + b".")
dtype = b"cnumpy\ndtype\n\x8c\x02V8\x89\x88\x87R\x94(K\x03\x8c\x01|N\x8c\x01a\x85}\x8c\x01ah\x00K\x00\x86s" \
        b"K\x08K\x01K\x00tb"
write("bad_dtype_of_itself", P + b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}(\x8c\x05shapeK\x01"
      b"\x85\x8c\x05order\x8c\x01C\x8c\x05dtype" + dtype + b"ub" + bytes(8) + b".")

write("good_long_of_nine_bytes", P + b"\x8a\x09n]\x94K\x02\0\0\0\0.")
write("good_fields_of_nothing", P + b"}.")
