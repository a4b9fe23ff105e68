"""The numpy runtime compared with real runtimes, each in a process of its own, and given damaged files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
import pytest
from ai_edge_litert import schema_py_generated
from dense_models import Layer, random_model, write

from edgedigits.bundle.bundle import Bundle
from edgedigits.runtimes.oracle import arithmetic as k
from edgedigits.runtimes.oracle.arithmetic import OPERATORS, NumpyAdapter
from edgedigits.runtimes.oracle.flatbuffer import schema
from edgedigits.runtimes.oracle.reader import read_chain
from edgedigits.runtimes.table import RUNTIMES
from edgedigits_export.quiet import suppress_output

Array = npt.NDArray[Any]
HERE = Path(__file__).parent
KERNELS = RUNTIMES["numpy"].kernels
# Our kernel set for each real one. AUTO adds the XNNPACK delegate, which tflite-runtime 2.14 does not use for int8.
FAMILIES = {
    ("litert", "AUTO"): "xnnpack",
    ("litert", "BUILTIN_WITHOUT_DEFAULT_DELEGATES"): "ruy",
    ("litert", "BUILTIN_REF"): "exact",
    ("tflite_runtime", "AUTO"): "ruy",
    ("tflite_runtime", "BUILTIN_WITHOUT_DEFAULT_DELEGATES"): "ruy",
    ("tflite_runtime", "BUILTIN_REF"): "reference",
}
DIGITS = ("int8_pc", "int8_pt")
RANDOM = 300


def adapter(model: bytes, kernels: str = "reference") -> NumpyAdapter:
    return NumpyAdapter(model, kernels)


@pytest.fixture(scope="session")
def x() -> Array:
    """The 5000 digits, (5000, 400) float32."""
    return Bundle().inputs()[0]


@pytest.fixture(scope="session")
def models(x: Array) -> dict[str, bytes]:
    """The packaged float32 model, and its int8 conversions: per channel, per tensor, with float input and output."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras
    import tensorflow as tf

    float32 = Bundle().read("float32.tflite")
    _, chain = read_chain(float32, OPERATORS)
    dense = [[tensor.values for tensor in op.inputs[1:] if tensor is not None] for op in chain]
    activations = ["relu"] * (len(dense) - 1) + ["linear"]
    layers = [keras.layers.Dense(len(w), activation=a) for (w, _), a in zip(dense, activations, strict=True)]
    model = keras.Sequential([keras.Input((400,)), *layers])
    model.set_weights([array for w, b in dense for array in (w.T, b)])

    def convert(per_tensor: bool, ends: tf.DType) -> bytes:
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([row[None]] for row in x)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = ends
        converter._experimental_disable_per_channel_quantization_for_dense_layers = per_tensor
        with suppress_output():
            content: bytes = converter.convert()
        return content

    int8 = {"int8_pc": convert(False, tf.int8), "int8_pt": convert(True, tf.int8)}
    return {"float32": float32, **int8, "int8_fio": convert(False, tf.float32)}


@pytest.fixture(scope="session")
def folder(models: dict[str, bytes], x: Array, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, inputs and the real outputs: NAME.tflite, NAME.x.npy, NAME.RUNTIME-KERNELS.npy."""
    path = tmp_path_factory.mktemp("models")
    for name in (*DIGITS, "float32"):
        model = models[name]
        (path / f"{name}.tflite").write_bytes(model)
        spec = adapter(model).inputs
        scale, zero = np.float32(spec.scale or 1), spec.zero_point or 0
        quantized = np.clip(np.round(x / scale) + zero, -128, 127).astype(np.int8)
        np.save(path / f"{name}.x.npy", x if spec.dtype == "float32" else quantized)
    for seed in range(RANDOM):
        model, inputs = random_model(seed)
        (path / f"r{seed:03}.tflite").write_bytes(model)
        np.save(path / f"r{seed:03}.x.npy", inputs)
    for runtime, kernels in FAMILIES:
        if find_spec(runtime if runtime != "litert" else "ai_edge_litert"):
            command = [sys.executable, str(HERE / "run_real.py"), runtime, kernels, str(path)]
            subprocess.run(command, check=True, capture_output=True, timeout=120)
    return path


def outputs(folder: Path, name: str, family: tuple[str, str]) -> tuple[Array, Array]:
    path = folder / f"{name}.{family[0]}-{family[1]}.npy"
    if not path.exists():
        pytest.skip(f"{family[0]} is not installed")
    return np.load(folder / f"{name}.x.npy"), np.load(path)


@pytest.mark.parametrize("family", FAMILIES, ids="-".join)
@pytest.mark.parametrize("name", DIGITS)
def test_bit_exact_on_all_digits(folder: Path, name: str, family: tuple[str, str]) -> None:
    x, real = outputs(folder, name, family)
    ours = adapter((folder / f"{name}.tflite").read_bytes(), FAMILIES[family]).run(x)
    assert len(ours) == 5000
    assert ours.dtype == np.int8
    assert np.count_nonzero(ours != real) == 0


@pytest.mark.parametrize("family", FAMILIES, ids="-".join)
def test_bit_exact_on_random_models(folder: Path, family: tuple[str, str]) -> None:
    wrong, saturated, total = [], 0, 0
    for seed in range(RANDOM):
        x, real = outputs(folder, f"r{seed:03}", family)
        ours = adapter((folder / f"r{seed:03}.tflite").read_bytes(), FAMILIES[family]).run(x)
        saturated, total = saturated + np.count_nonzero(np.abs(ours + 0.5) == 127.5), total + ours.size
        if not np.array_equal(ours, real):
            wrong.append(seed)
    assert wrong == []
    assert 0.02 < saturated / total < 0.9  # the seeds cover both saturated and other values


@pytest.mark.parametrize("family", FAMILIES, ids="-".join)
def test_float_close_on_all_digits(folder: Path, family: tuple[str, str]) -> None:
    x, real = outputs(folder, "float32", family)
    ours = adapter((folder / "float32.tflite").read_bytes()).run(x)
    # Sums of 400, 25 and 15 float32 products in another order; logits reach about 40, so this is some 10 ulp.
    assert np.abs(ours - real).max() < 1e-4
    assert np.array_equal(ours.argmax(1), real.argmax(1))


def test_float_input_and_output_around_int8(models: dict[str, bytes], x: Array) -> None:
    x = x[:500]
    model, inner = models["int8_fio"], adapter(models["int8_pc"])
    scale, zero = np.float32(inner.inputs.scale), inner.inputs.zero_point
    q = inner.run(np.clip(k.round_half_away((x / scale).astype(float)) + zero, -128, 127).astype(np.int8))
    expected = (q.astype(np.float32) - np.float32(inner.outputs.zero_point)) * np.float32(inner.outputs.scale)
    ours = adapter(model)
    assert ours.inputs.dtype == ours.outputs.dtype == "float32"
    assert np.array_equal(ours.run(x), expected)


def test_multiplier_of_a_power_of_two_and_just_below() -> None:
    multiplier, shift = k.quantize_multiplier(np.array([0.5, 1 - 2.0**-40, 2.0**-40]))
    assert multiplier.tolist() == [1 << 30, 1 << 30, 0]
    assert shift.tolist() == [0, 1, 0]


def test_schema_agrees_with_the_generated_one() -> None:
    generated = Path(schema_py_generated.__file__).read_text()
    tables, enums = schema()
    for table, fields in tables.items():
        for field, (slot, *_) in fields.items():
            method = table + "Add" + "".join(part.capitalize() for part in field.split("_"))
            found = re.search(rf"def {method}\(.*\n\s+builder\.Prepend\w+Slot\((\d+)", generated)
            assert found is not None
            assert int(found[1]) == slot
    for enum, names in enums.items():
        body = re.search(rf"class {enum}\(object\):\n((?:    .*\n)+)", generated)
        assert body is not None
        theirs = [name for name, _ in re.findall(r"(\w+) = (\d+)", body[1])]
        theirs = theirs[1:] if enum == "BuiltinOptions" else theirs  # a union's NONE goes without saying
        assert theirs[: len(names)] == names


def dense(**changes: Any) -> bytes:
    values: dict[str, Any] = {"weights": np.ones((2, 3), np.int8), "scales": np.array([0.1], np.float32), "bias": None}
    values |= {"y_scale": 0.5, "y_zero": 0}
    return write(0.1, 0, [Layer(**(values | changes))])


@pytest.mark.parametrize(("code", "name"), [(0, "ADD"), (32, "CUSTOM"), (204, "STABLEHLO_RNG"), (999, "")])
def test_other_operators_are_named(code: int, name: str) -> None:
    layer = Layer(np.ones((2, 3), np.int8), np.array([0.1], np.float32), None, 0.5, 0)
    with pytest.raises(ValueError, match=f"{name}.*is not supported" if name else "damaged"):
        adapter(write(0.1, 0, [layer], code))


@pytest.mark.parametrize(
    "changes",
    [
        {"activation": 4},
        {"scales": np.array([0.0], np.float32)},
        {"scales": np.array([np.nan], np.float32)},
        {"scales": np.ones(3, np.float32)},
        {"y_scale": np.inf},
        {"y_zero": 200},
        {"bias": np.array([2**31 - 1, 0], np.int32)},
        {"bias": np.zeros(5, np.int32)},
    ],
    ids=str,
)
def test_impossible_quantization(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"FULLY_CONNECTED|weights|tensor|damaged"):
        adapter(dense(**changes))


def test_damaged(models: dict[str, bytes]) -> None:
    r = np.random.default_rng(5)
    originals = [models[name] for name in ("int8_pc", "float32", "int8_fio")]
    originals += [dense(), random_model(3)[0]]
    for model in originals:
        for length in range(0, len(model) - 1, 97):
            survives(model[:length])
    for i in range(2000):
        data = bytearray(originals[i % len(originals)])
        head = 2000 if i % 2 else len(data)  # half of them near the ends, where the tables are
        for at in r.integers(0, min(head, len(data)), r.integers(1, 6)):
            data[at if i % 4 < 2 else -1 - at] = r.integers(0, 256)
        survives(bytes(data))


def survives(model: bytes) -> None:
    """A damaged file is refused with ValueError, or runs and gives an output of its stated shape."""
    try:
        ours = adapter(model)
    except ValueError:
        return
    if np.prod(ours.inputs.shape, dtype=float) < 1e6:
        with np.errstate(all="ignore"):
            out = ours.run(np.zeros((2, *ours.inputs.shape), ours.inputs.dtype))
        assert out.shape == (2, *ours.outputs.shape)
        assert out.dtype == ours.outputs.dtype


def test_huge_shapes_are_refused() -> None:
    """A RESHAPE has no weights whose size would limit its shape."""
    layer = Layer(np.ones((3, 3), np.int8), np.array([0.1], np.float32), None, 0.1, 0)
    model = schema_py_generated.ModelT.InitFromPackedBuf(write(0.1, 0, [layer], 22))
    for side, fits in ((2**24, True), (2**24 + 1, False), (2**31 - 1, False)):
        for tensor in (model.subgraphs[0].tensors[0], model.subgraphs[0].tensors[-1]):
            tensor.shape = [1, side]
        builder = flatbuffers.Builder(0)
        builder.Finish(model.Pack(builder), b"TFL3")
        if fits:
            assert adapter(bytes(builder.Output())).inputs.shape == (side,)
        else:
            with pytest.raises(ValueError, match="larger than 64 MB"):
                adapter(bytes(builder.Output()))
