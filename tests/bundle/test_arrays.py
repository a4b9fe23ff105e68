"""Arrays: the header is held against what is asked and what is there before memory is taken; nothing is unpickled."""

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


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def headed(dtype: str = "'<f4'", shape: str = "(6, 4)", fortran: str = "False", body: bytes = X.tobytes()) -> bytes:
    return npy(f"{{'descr': {dtype}, 'fortran_order': {fortran}, 'shape': {shape}, }}", body)


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
    assert x.dtype.isnative
    assert y.tolist() == list(range(6))


def test_headers_in_other_forms(tmp_path: Path) -> None:
    for content in (
        headed(),
        headed(shape="(6L, 4L)"),
        npy("{'shape':(6,4),'fortran_order':False,'descr':'<f4'}", X.tobytes()),
    ):
        np.testing.assert_array_equal(from_npz(packed([Entry(b"X.npy", content)]), X=(["float32"], (6, 4)))[0], X)
        (tmp_path / "X.npy").write_bytes(content)
        np.testing.assert_array_equal(read_npy(tmp_path / "X.npy"), X)


@pytest.mark.parametrize(
    ("dtype", "said"),
    [
        ("'|O'", "pickled objects, which are never loaded"),
        ("[('a', '|O')]", "pickled objects, which are never loaded"),
        ("[('a', '<f4')]", "not plain numbers"),
        ("'|V4'", "not plain numbers"),
        ("'<U0'", "not plain numbers"),
        ("'<M8[s]'", "not plain numbers"),
        ("'(9999,9999)f4'", "not plain numbers"),
        ("'<f8'", "takes 320 bytes, it has 224"),
        ("'<f2'", "bytes follow the end of the array"),
        ("'<i4'", "X is int32 (6, 4), not float32 (m, 4)"),
        ("7", "not plain numbers"),
    ],
)
def test_dtypes(dtype: str, said: str) -> None:
    assert said in refused(headed(dtype))


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ("(10**18, 4)", "cannot be parsed"),
        ("(1000000000000000000, 4)", "its shape is"),
        ("(100000000, 4)", "takes 1,600,000,128 bytes, it has 224"),
        ("(0, 1000000000000000000)", "its shape is"),
        ("(-6, -4)", "its shape is"),
        ("(True, 24)", "its shape is"),
        ("(6.0, 4)", "its shape is"),
        ("[6, 4]", "its shape is"),
        ("(1, 1, 1, 1, 1, 1, 1, 6, 4)", "its shape is"),
        ("(24,)", "X is float32 (24,), not float32 (m, 4)"),
        ("(4, 6)", "X is float32 (4, 6), not float32 (m, 4)"),
        ("()", "bytes follow"),
    ],
)
def test_shapes(shape: str, said: str) -> None:
    assert said in refused(headed(shape=shape))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "does not begin as an .npy"),
        (b"\x93NUMPY\3\0" + bytes(100), "version 3.0"),
        (b"\x93NUMPY\2\0\xff\xff\xff\xff" + bytes(100), "its header has 4,294,967,295 bytes"),
        (npy("{", b""), "cannot be parsed"),  # NumPy's own reader lets its tokenizer's error through
        (npy("(" * 900, b""), "cannot be parsed"),
        (npy("-" * 900 + "1", b""), "header"),
        (npy("__import__('os').system('true')", b""), "cannot be parsed"),
        (npy("{'descr': '<f4'}", b""), "not a dtype, an order and a shape"),
        (npy("{'descr': '<f4', 'fortran_order': 1, 'shape': (0, 4)}", b""), "its shape is"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 4), } \xa0", b""), "cannot be parsed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_headers_that_are_none(content: bytes, said: str) -> None:
    assert said in refused(content)


def test_no_memory_for_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "X.npy").write_bytes(headed(shape="(200000000, 1)"))
    tracemalloc.start()
    try:
        with pytest.raises(RefusedError, match="takes 800,000,128 bytes, it has 224"):
            read_npy(tmp_path / "X.npy")
        assert "takes" in refused(headed(shape="(200000000, 1)"))
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


def test_an_array_that_is_not_there() -> None:
    with pytest.raises(RefusedError, match="y is missing"):
        from_npz(npz(X=X), y=(WHOLE, (None,)))
