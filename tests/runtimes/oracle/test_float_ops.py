"""The float64 operators compared with TensorFlow's, also in float64."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgedigits.runtimes.oracle.float_ops import (
    MOVES,
    OPERATIONS,
    WEIGHTED,
    average_pool,
    convolution,
    depthwise,
    softmax,
)

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
tf = pytest.importorskip("tensorflow")

PADDINGS = ("SAME", "VALID")  # by the schema's numbers
SIZES = st.integers(1, 9)


def options(padding: str, stride: tuple[int, int], dilation: tuple[int, int] = (1, 1), **more: int) -> dict[str, Any]:
    strides = {"stride_h": stride[0], "stride_w": stride[1]}
    dilations = {"dilation_h_factor": dilation[0], "dilation_w_factor": dilation[1]}
    return {"padding": PADDINGS.index(padding), **strides, **dilations, **more}


def pairs(most: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(1, most), st.integers(1, most))


def agree(ours: Any, theirs: Any) -> None:
    assert ours.shape == tuple(theirs.shape)
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=1e-12)  # sums of 100 values near 1


def fits(padding: str, size: tuple[int, int], kernel: tuple[int, int], dilation: tuple[int, int]) -> bool:
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    return padding == "SAME" or (reach[0] <= size[0] and reach[1] <= size[1])


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
    padding=st.sampled_from(PADDINGS),
    size=st.tuples(SIZES, SIZES),
    kernel=pairs(4),
    stride=pairs(3),
    dilation=pairs(3),
    groups=st.integers(1, 2),
)
def test_convolution(padding: str, size: Any, kernel: Any, stride: Any, dilation: Any, groups: int) -> None:
    assume(fits(padding, size, kernel, dilation))
    r = np.random.default_rng(0)
    x, w = r.normal(size=(2, *size, 3 * groups)), r.normal(size=(4, *kernel, 3))
    theirs = [
        tf.nn.conv2d(part, weights.transpose(1, 2, 3, 0), stride, padding, dilations=dilation)
        for part, weights in zip(np.split(x, groups, 3), np.split(w, groups, 0), strict=True)
    ]
    agree(convolution(x, w, options(padding, stride, dilation)), tf.concat(theirs, 3))


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(
    padding=st.sampled_from(PADDINGS),
    size=st.tuples(SIZES, SIZES),
    kernel=pairs(4),
    stride=st.integers(1, 3),
    dilation=pairs(3),
    multiplier=st.integers(1, 2),
)
def test_depthwise(padding: str, size: Any, kernel: Any, stride: int, dilation: Any, multiplier: int) -> None:
    dilation = dilation if stride == 1 else (1, 1)  # TensorFlow supports only one of them
    assume(fits(padding, size, kernel, dilation))
    r = np.random.default_rng(0)
    x, w = r.normal(size=(2, *size, 3)), r.normal(size=(1, *kernel, 3 * multiplier))
    theirs = tf.nn.depthwise_conv2d(
        x, w.reshape(*kernel, 3, multiplier), (1, stride, stride, 1), padding, dilations=dilation
    )
    agree(depthwise(x, w, options(padding, (stride, stride), dilation)), theirs)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(padding=st.sampled_from(PADDINGS), size=st.tuples(SIZES, SIZES), kernel=pairs(4), stride=pairs(3))
def test_average_pool(padding: str, size: Any, kernel: Any, stride: Any) -> None:
    assume(fits(padding, size, kernel, (1, 1)))
    x = np.random.default_rng(0).normal(size=(2, *size, 3))
    ours = average_pool(x, options(padding, stride, filter_height=kernel[0], filter_width=kernel[1]))
    agree(ours, tf.nn.avg_pool2d(x, kernel, stride, padding))


@pytest.mark.parametrize(
    ("name", "theirs", "facts"),
    [
        ("HARD_SWISH", lambda x: x * tf.nn.relu6(x + 3) / 6, {}),
        ("LEAKY_RELU", lambda x: tf.nn.leaky_relu(x, 0.25), {"alpha": 0.25}),
        ("LOGISTIC", tf.sigmoid, {}),
        ("SOFTMAX", tf.nn.softmax, {"beta": 1.0}),
        ("TANH", tf.tanh, {}),
    ],
)
def test_operators_of_one_input(name: str, theirs: Any, facts: dict[str, Any]) -> None:
    x = np.random.default_rng(0).normal(0, 4, (5, 6))
    agree(OPERATIONS[name]([x], facts), theirs(x))


def test_operators_of_several_inputs() -> None:
    r = np.random.default_rng(0)
    x, y, axes = r.normal(size=(2, 3, 4, 5)), r.normal(size=5), np.array([1, 2])
    agree(OPERATIONS["ADD"]([x, y], {}), tf.add(x, y))
    agree(OPERATIONS["SUB"]([x, y], {}), tf.subtract(x, y))
    agree(OPERATIONS["MUL"]([x, y], {}), tf.multiply(x, y))
    agree(OPERATIONS["PRELU"]([x, y], {}), tf.where(x > 0, x, x * y))
    agree(OPERATIONS["MEAN"]([x, axes], {"keep_dims": False}), tf.reduce_mean(x, (1, 2)))
    agree(OPERATIONS["MEAN"]([x, np.array(-1)], {"keep_dims": True}), tf.reduce_mean(x, -1, keepdims=True))
    agree(OPERATIONS["CONCATENATION"]([x, x], {"axis": 3}), tf.concat([x, x], 3))
    agree(OPERATIONS["FULLY_CONNECTED"]([x, r.normal(size=(7, 20))], {})[:, :0], tf.zeros((6, 0)))


def test_softmax_of_large_values_stays_finite() -> None:
    assert softmax(np.array([[1e4, 0.0]]), 1.0).tolist() == [[1.0, 0.0]]


def test_operator_names() -> None:
    from edgedigits.runtimes.oracle.flatbuffer import schema

    assert not set(OPERATIONS) & set(MOVES)
    assert {*OPERATIONS, *MOVES} <= set(schema()[1]["BuiltinOperator"])
    assert set(WEIGHTED) <= set(OPERATIONS)
