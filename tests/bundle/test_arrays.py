"""Arrays: the header must fit what is wanted and the file's size before memory is taken; nothing is unpickled."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from archives import Entry, npy, packed

from edgedigits.bundle.arrays import WHOLE, from_npz, read_npy
from edgedigits.system.limits import RefusedError

X = np.arange(24, dtype=np.float32).reshape(6, 4)


def with_header(dtype: str = "'<f4'", shape: str = "(6, 4)", fortran: str = "False") -> bytes:
    return npy(f"{{'descr': {dtype}, 'fortran_order': {fortran}, 'shape': {shape}, }}", X.tobytes())


def refused(content: bytes) -> str:
    with pytest.raises(RefusedError) as caught:
        from_npz(packed([Entry(b"X.npy", content, 0)]), X=(["float32"], (None, 4)))
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("stored", [X, np.asfortranarray(X), X.astype(">f4")], ids=["C", "Fortran", "big-endian"])
def test_what_numpy_writes(save: Any, stored: Any) -> None:
    stream = io.BytesIO()
    save(stream, X=stored, y=np.arange(6))
    x, y = from_npz(stream.getvalue(), X=(["float32"], (6, 4)), y=(WHOLE, (None,)))
    np.testing.assert_array_equal(x, X)
    assert x.flags.c_contiguous
    assert x.flags.writeable
    assert x.dtype is np.dtype(np.float32)  # identical, as a session checks it before it takes its fast path
    assert y.tolist() == list(range(6))
    with pytest.raises(RefusedError, match="z is missing"):
        from_npz(stream.getvalue(), z=(WHOLE, (None,)))


@pytest.mark.parametrize(
    "content",
    [with_header(shape="(6L, 4L)"), npy("{'shape':(6,4),'fortran_order':False,'descr':'<f4'}", X.tobytes())],
    ids=["Python 2", "compact"],
)
def test_other_spellings_of_the_header(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "X.npy").write_bytes(content)
    np.testing.assert_array_equal(read_npy(tmp_path / "X.npy"), X)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"dtype": "'|O'"}, "pickled objects, which are never loaded"),
        ({"dtype": "[('a', '|O')]"}, "pickled objects, which are never loaded"),
        ({"dtype": "[('a', '<f4')]"}, "expected plain numbers"),
        ({"dtype": "'<U0'"}, "expected plain numbers"),
        ({"dtype": "'<M8[s]'"}, "expected plain numbers"),
        ({"dtype": "'(9999,9999)f4'"}, "expected plain numbers"),
        ({"dtype": "7"}, "NumPy cannot read it"),
        ({"dtype": "'<f8'"}, "takes 320 bytes, it has 224"),
        ({"dtype": "'<f2'"}, "bytes follow the end of the array"),
        ({"dtype": "'<i4'"}, "X is int32 (6, 4), expected float32 (m, 4)"),
        ({"shape": "(10**18, 4)"}, "NumPy cannot read it"),
        ({"shape": "(1000000000000000000, 4)"}, "its shape is"),
        ({"shape": "(100000000, 4)"}, "takes 1,600,000,128 bytes, it has 224"),
        ({"shape": "(0, 1000000000000000000)"}, "its shape is"),
        ({"shape": "(-6, -4)"}, "its shape is"),
        ({"shape": "[6, 4]"}, "NumPy cannot read it"),
        ({"shape": "(" + "1, " * 98 + "24)"}, "NumPy cannot read it"),
        ({"shape": "(4, 6)"}, "X is float32 (4, 6), expected float32 (m, 4)"),
        ({"fortran": "1"}, "NumPy cannot read it"),
    ],
    ids=str,
)
def test_headers_that_do_not_fit(header: dict[str, str], message: str) -> None:
    assert message in refused(with_header(**header))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY\3\0" + bytes(100),
        b"\x93NUMPY\2\0\xff\xff\xff\xff" + bytes(100),
        npy(" " * 2000 + "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 4), }", b""),  # longer than is parsed
        npy("{", b""),  # NumPy lets its tokenizer's error through
        npy("(" * 900, b""),
        npy("-" * 900 + "1", b""),
        npy("__import__('os').system('true')", b""),
        npy("{'descr': '<f4'}", b""),
    ],
    ids=lambda content: content[:12],
)
def test_no_header(content: bytes) -> None:
    assert refused(content).startswith("X: ")


def test_no_memory_for_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "X.npy").write_bytes(with_header(shape="(200000000, 1)"))
    tracemalloc.start()
    try:
        with pytest.raises(RefusedError, match="takes 800,000,128 bytes, it has 224"):
            read_npy(tmp_path / "X.npy")
        assert "takes" in refused(with_header(shape="(200000000, 1)"))
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()
