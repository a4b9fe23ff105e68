from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgedigits.runtimes.tensors import FloatArray, TensorSpec

FLOAT = TensorSpec("image", (400,), "float32")
INT8 = TensorSpec("image", (400,), "int8", 0.5, 10)

specs = st.builds(
    TensorSpec,
    st.just("image"),
    st.just((3,)),
    st.just("int8"),
    st.floats(1e-6, 1e3).map(lambda scale: float(np.float32(scale))),
    st.integers(-128, 127),
)
any_values = arrays(np.float32, (3,), elements=st.floats(width=32, allow_nan=False, allow_infinity=False))
quanta = arrays(np.int8, (3,), elements=st.integers(-128, 127))


def real(spec: TensorSpec, q: int) -> float:
    assert spec.scale is not None
    assert spec.zero_point is not None
    return spec.scale * (q - spec.zero_point)


@given(specs, quanta)
def test_int8_values_survive_a_round_trip(spec: TensorSpec, q: Any) -> None:
    back = spec.quantize(spec.dequantize(q))
    assert back.dtype == np.int8
    np.testing.assert_array_equal(back, q)


@given(specs, arrays(np.float64, (3,), elements=st.floats(0, 1)))
def test_the_error_within_the_range_is_at_most_half_a_quantum(spec: TensorSpec, fraction: Any) -> None:
    assert spec.scale is not None
    x = (real(spec, -128) + fraction * (real(spec, 127) - real(spec, -128))).astype(np.float32)
    error = np.abs(spec.dequantize(spec.quantize(x)).astype(np.float64) - x)
    # 1e-4 of a quantum for the float32 products: up to 255 quanta, each 6e-8 exact, in three roundings.
    assert (error <= spec.scale * (0.5 + 1e-4)).all()


@given(specs, any_values)
def test_values_beyond_the_range_saturate(spec: TensorSpec, x: FloatArray) -> None:
    q = spec.quantize(x)
    assert (q[x >= real(spec, 127)] == 127).all()
    assert (q[x <= real(spec, -128)] == -128).all()


@given(specs, any_values)
def test_quantizer_gives_the_same_values(spec: TensorSpec, x: FloatArray) -> None:
    stored = np.zeros(3, np.int8)
    into = spec.quantizer()
    for values in (x, x[::-1], x):
        into(values, stored)
        np.testing.assert_array_equal(stored, spec.quantize(values))


@given(specs)
def test_dequantization_table(spec: TensorSpec) -> None:
    every = np.arange(-128, 128).astype(np.int8)
    np.testing.assert_array_equal(spec.dequantization_table().take(every), spec.dequantize(every))


def test_ties_go_to_the_even_neighbor() -> None:
    halves = np.array([-1.5, -0.5, 0.5, 1.5, 2.5], np.float32)
    spec = TensorSpec("image", (5,), "int8", 1.0, 0)
    assert spec.quantize(halves).tolist() == [-2, 0, 0, 2, 2]
    assert INT8.dequantize(np.array([10, 12], np.int8)).tolist() == [0.0, 1.0]


def test_quantize_does_not_change_its_input() -> None:
    x = np.array([1e6, 0.3], np.float32)
    INT8.quantize(x)
    assert x.tolist() == [1e6, np.float32(0.3)]


def test_float32_passes_through() -> None:
    x = np.ones(400, np.float32)
    assert FLOAT.quantize(x) is x
    assert FLOAT.dequantize(x) is x


@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point"),
    [("uint8", 1.0, 0), ("float64", None, None), ("int8", None, None), ("int8", 1.0, None), ("float32", 1.0, 0)],
)
def test_unsupported_tensors(dtype: str, scale: float | None, zero_point: int | None) -> None:
    with pytest.raises(ValueError, match=f"tensor 'image'.* {dtype}"):
        TensorSpec("image", (400,), dtype, scale, zero_point)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (TensorSpec("another name", (400,), "int8", 0.5, 10), True),
        (TensorSpec("image", (400,), "int8", 0.5 + 1e-10, 10), True),  # equal in float32, in which runtimes report it
        (TensorSpec("image", (400,), "int8", 0.51, 10), False),
        (TensorSpec("image", (400,), "int8", 0.5, 11), False),
        (TensorSpec("image", (401,), "int8", 0.5, 10), False),
        (FLOAT, False),
    ],
)
def test_matches(other: TensorSpec, same: bool) -> None:
    assert INT8.matches(other) is same
    assert other.matches(INT8) is same


def test_as_text() -> None:
    assert str(FLOAT) == "image: float32 [n, 400]"
    assert str(INT8) == "image: int8 [n, 400], scale 0.5, zero point 10"
