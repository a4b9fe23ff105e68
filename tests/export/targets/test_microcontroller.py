"""The C library of `edgedigits c`: strict C99, equal to the numpy runtime bit for bit, or refused."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from dense_models import Layer, write
from host import SANITIZED, compile_c, compile_example, compile_sketch, needs_gcc, run_example
from numpy.typing import NDArray

from edgedigits.bundle.bundle import Bundle
from edgedigits.bundle.contract import Contract
from edgedigits.errors import ExportError, InputError
from edgedigits.parity.board import full_integer_artifact
from edgedigits.runtimes.oracle.arithmetic import NumpyAdapter
from edgedigits.runtimes.oracle.reader import read_graph
from edgedigits.runtimes.tensors import FloatArray, TensorSpec
from edgedigits_export.int8.file import convert
from edgedigits_export.quiet import conversion
from edgedigits_export.targets.microcontroller.layers import pixel_formula, pixel_table, read_layers
from edgedigits_export.targets.microcontroller.library import FILES, generate, write_library

Command = Callable[..., subprocess.CompletedProcess[str]]
NO_PICTURES = Contract((1,))
SEED = 15  # of a model whose self-test notices every mutant below


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library") / "digits"
    write_library(Bundle(), folder, "digits")
    return folder


def save(files: dict[str, str], folder: Path) -> Path:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


# --- What is generated.


def test_the_command(edgedigits: Command, library: Path, tmp_path: Path, hidden: Callable[..., dict[str, str]]) -> None:
    """Without TensorFlow, under another name, twice the same bytes, over what it wrote before."""
    env = hidden("tensorflow", "keras", "tf2onnx", "onnx", "matplotlib")
    for _ in range(2):
        done = edgedigits("c", "-o", tmp_path / "here" / "digits", env=env)
        assert done.returncode == 0, done.stderr
    for path in (path for path in library.rglob("*") if path.is_file()):
        assert (tmp_path / "here" / "digits" / path.relative_to(library)).read_bytes() == path.read_bytes()
    done = edgedigits("c", "robust", "--name", "mine")
    assert done.stdout.startswith("wrote mine; try: cc ")
    found = {path.relative_to(tmp_path / "here" / "mine").as_posix() for path in (tmp_path / "here/mine").rglob("*.*")}
    assert found == {path.replace("NAME", "mine") for path in FILES}
    source = (tmp_path / "here/mine/src/mine.c").read_text() + (tmp_path / "here/mine/src/mine.h").read_text()
    assert "digits" not in source.replace("edgedigits", "")
    assert full_integer_artifact(Bundle("robust")).sha256[:16] in source


@pytest.mark.parametrize("name", ["", "Digits", "1st", "a-b", "stdint", "string", "x" * 40])
def test_names_that_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--name"):
        write_library(Bundle(), tmp_path / "new", name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["notes.txt", "src/more.c", "digits.h"])
def test_a_folder_with_other_files_is_left_alone(path: str, library: Path, tmp_path: Path) -> None:
    folder = save({p.relative_to(library).as_posix(): p.read_text() for p in library.rglob("*.*")}, tmp_path / "lib")
    (folder / path).write_text("mine")
    with pytest.raises(InputError, match=f"has {path}, which is no file of a generated library"):
        write_library(Bundle(), folder, "digits")
    assert (folder / path).read_text() == "mine"


def test_a_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "digits").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        write_library(Bundle(), tmp_path / "digits", "digits")


def test_other_operators_are_named() -> None:
    layer = Layer(np.ones((2, 3), np.int8), np.array([0.1], np.float32), None, 0.5, 0)
    with pytest.raises(ExportError, match="it has CONV_2D; only FULLY_CONNECTED and RESHAPE can be written as C"):
        generate(write(0.1, 0, [layer], 3), "model.tflite", NO_PICTURES, "digits")


def test_a_float_bundle_is_refused(bundle_copy: Path, edgedigits: Command, tmp_path: Path) -> None:
    manifest = bundle_copy / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"int8"', '"float32"').replace(' "scale": 0.0', ' "scal": 0.0'))
    done = edgedigits("c", bundle_copy)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert not (tmp_path / "here" / "digits").exists()


def test_too_many_inputs_are_refused() -> None:
    layer = Layer(np.ones((5, 14_000), np.int8), np.array([1e-6], np.float32), None, 0.5, 0)
    with pytest.raises(ExportError, match="more than 13,107 inputs or units"):
        generate(write(1e-3, 0, [layer]), "model.tflite", NO_PICTURES, "digits")


@pytest.mark.parametrize("scale", [255.0, 1.0])
def test_pixels_are_quantized_as_inputs_are(scale: float) -> None:
    """By a formula where it is exact, else by a table."""
    r, formulas = np.random.default_rng(3), 0
    for _ in range(200):
        zero_point = int(r.integers(-128, 128))
        spec = TensorSpec("x", (1,), "int8", float(np.exp(r.uniform(-7, 1))), zero_point)
        table = pixel_table(spec, scale)
        assert table.tolist() == spec.quantize((np.arange(256) / scale).astype(np.float32)).tolist()
        if found := pixel_formula(spec, scale):
            a, b, shift = found
            assert [min((a * p + b >> shift) + zero_point, 127) for p in range(256)] == table.tolist()
            assert 0 <= a * 255 + b < 2**31
            formulas += 1
    assert formulas > 50


# --- What it computes, on this computer.


@needs_gcc
@pytest.mark.parametrize("name", ["notebook", "robust"])
def test_every_logit_is_equal(name: str, x: FloatArray, tmp_path: Path) -> None:
    bundle = Bundle(name)
    write_library(bundle, tmp_path / "lib", "digits")
    artifact = full_integer_artifact(bundle)
    inputs = artifact.input.quantize(x)
    found = run_example(compile_example(tmp_path / "lib", tmp_path / "example", *SANITIZED), inputs)
    expected = NumpyAdapter(bundle.read(artifact.file), "reference").run(inputs)
    assert np.array_equal(found[:, :-1], expected)
    assert np.array_equal(found[:, -1], expected.argmax(axis=1))


@needs_gcc
def test_a_flatten_layer_is_no_operator_of_its_own(tmp_path: Path) -> None:
    """Its file computes the shape of the input's batch with SHAPE, STRIDED_SLICE and PACK."""
    import tensorflow as tf
    from keras import Input, Sequential, layers

    rng = np.random.default_rng(SEED)
    model = Sequential([Input((4, 5)), layers.Flatten(), layers.Dense(6, "relu"), layers.Dense(3)])
    x = rng.random((100, 4, 5), dtype=np.float32)
    with conversion(False):
        content = convert(tf.lite.TFLiteConverter.from_keras_model(model), x, per_channel=True)
    assert "SHAPE" in [op.name for op in read_graph(content)[2]]
    save(generate(content, "model.tflite", Contract((4, 5)), "digits"), tmp_path / "lib")
    runtime = NumpyAdapter(content, "reference")
    inputs = runtime.inputs.quantize(x)
    found = run_example(compile_example(tmp_path / "lib", tmp_path / "example", *SANITIZED), inputs)
    assert np.array_equal(found[:, :-1], runtime.run(inputs))


@needs_gcc
def test_pixels_in_c(library: Path, tmp_path: Path) -> None:
    """All 256 values, through the formula and through the table."""
    spec = full_integer_artifact(Bundle()).input
    program = tmp_path / "main.c"
    program.write_text(
        '#include <stdio.h>\n#include "digits.h"\n'
        "int main(void) { static uint8_t pixels[DIGITS_INPUTS]; static int8_t x[DIGITS_INPUTS];\n"
        "for (int i = 0; i < 256; i++) pixels[i] = (uint8_t)i;\n"
        "digits_quantize(pixels, x); return fwrite(x, 256, 1, stdout) != 1; }\n"
    )
    sources = [program, *(library / "src").glob("*.c")]
    done = subprocess.run([compile_c(sources, tmp_path / "main", "-I", str(library / "src"))], capture_output=True)
    assert np.frombuffer(done.stdout, np.int8).tolist() == pixel_table(spec, 255.0).tolist()


@needs_gcc
@pytest.mark.parametrize("level", ["-Os", "-O3"])
def test_it_needs_nothing(library: Path, tmp_path: Path, level: str) -> None:
    """No function of a C library, as C and as C++; no warning; nothing in RAM."""
    for source in (library / "src").glob("*.c"):
        for language in (["gcc", "-std=c99"], ["g++", "-x", "c++"]):
            warnings = ["-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]
            command = [*language, *warnings, level, "-fno-pic", "-c", str(source), "-o", str(tmp_path / "o")]
            assert subprocess.run(command, capture_output=True, text=True).stderr == ""
            if language[0] == "gcc":
                symbols = subprocess.run(["nm", str(tmp_path / "o")], capture_output=True, text=True, check=True).stdout
                kinds = {line.split()[-1]: line.split()[-2] for line in symbols.splitlines()}
                unknown = {name for name, kind in kinds.items() if kind == "U"}
                assert unknown <= ({"digits_predict"} if "selftest" in source.name else set())
                assert not set(kinds.values()) & set("bBdD")


@pytest.fixture(scope="module")
def left_shifting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library of a model in which left shifts matter; in the packaged ones they hardly do."""
    return save(generate(random_model(SEED)[0], "x.tflite", NO_PICTURES, "digits"), tmp_path_factory.mktemp("left"))


@needs_gcc
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(mask >> 1) + (high < 0)", "(mask >> 1)"),
        ("(product + ((int64_t)1 << 30)) >> 31", "product >> 31"),
        ("(int64_t)1 << 30", "(int64_t)1 << 29"),
        ("y < l->low ? l->low :", ""),
        ("y > l->high ? l->high : y", "y"),
        ("logits[i] > logits[best]", "logits[i] >= logits[best]"),
        ("shift > 0 ? sum * ((int32_t)1 << shift) : sum", "sum"),
        ("s4 += v * at[4]", "s4 += v * at[3]"),
        ("x[i] != l->zero_in", "x[i] > l->zero_in"),
    ],
)
def test_a_mutant_fails_the_self_test(left_shifting: Path, tmp_path: Path, old: str, new: str) -> None:
    source = (left_shifting / "src/digits.c").read_text()
    assert source.count(old) == 1
    files = {path.relative_to(left_shifting).as_posix(): path.read_text() for path in left_shifting.rglob("*.*")}
    save(files | {"src/digits.c": source.replace(old, new)}, tmp_path / "lib")
    program = compile_example(tmp_path / "lib", tmp_path / "example", "-O1")
    done = subprocess.run([program], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 1
    assert "self-test FAILED" in done.stderr


@needs_gcc
def test_the_sketch_of_the_documentation_blinks_a_one(library: Path, root: Path, tmp_path: Path) -> None:
    (code,) = re.findall(
        r"^```cpp\n(.*?)^```", (root / "docs/microcontroller.md").read_text(), re.MULTILINE | re.DOTALL
    )
    (tmp_path / "blink.ino").write_text(code)
    program = compile_sketch(tmp_path / "blink.ino", library, tmp_path / "blink")
    done = subprocess.run([program, "2"], capture_output=True, text=True)
    assert done.stderr.splitlines() == ["pin 13 high", "pin 13 low"] * 2


def test_the_documentation_shows_what_was_measured(library: Path, root: Path) -> None:
    rows = json.loads((root / "benchmarks/results/microcontroller.json").read_text())["rows"]
    shown = [row for row in rows if (row["bundle"], row["code"]) == ("notebook", "edgedigits -O2")]
    assert len(shown) == 5
    for row in shown:
        keys = ("flash_bytes", "stack_bytes", "mean_instructions", "worst_instructions", "full_instructions")
        cells = [row["core"], *(f"{row[key]:,}" for key in keys)]
        assert " | ".join(cells) in (root / "docs/microcontroller.md").read_text().replace(", notebook", "")
        assert " | ".join([*cells[:4], cells[5]]) in (library / "README.md").read_text()


def random_model(seed: int) -> tuple[bytes, NDArray[np.int8]]:
    """A dense model of 1 to 3 layers whose scales often need a left shift, and 64 inputs."""
    r = np.random.default_rng(seed)
    widths = r.integers(1, 60, r.integers(2, 5)).tolist()
    x_scale, x_zero = float(np.exp(r.uniform(-5, 0))), int(r.integers(-128, 128))
    first, layers = x_scale, list[Layer]()
    for depth, units in pairwise(widths):
        scales = np.exp(r.uniform(-7, -1, units if seed % 2 else 1)).astype(np.float32)
        y_scale = float(np.float32(x_scale * scales.max() * np.exp2(r.uniform(-4, 10))))
        bias = r.integers(-20_000, 20_000, units).astype(np.int32) if r.random() < 0.8 else None
        weights = r.integers(-127, 128, (units, depth), np.int8)
        layers.append(Layer(weights, scales, bias, y_scale, int(r.integers(-128, 128)), int(r.choice([0, 1, 3]))))
        x_scale = y_scale
    x = r.integers(-128, 128, (64, widths[0])).astype(np.int8)
    x[r.random(x.shape) < 0.5] = x_zero
    x[0], x[1], x[2] = -128, 127, x_zero
    return write(first, x_zero, layers), x


DRIVER = """#include <stdio.h>
#define RUN(m, M) if (m##_selftest()) return 1; \\
    for (int n = 0; n < 64; n++) {{ \\
        if (fread(x, M##_INPUTS, 1, stdin) != 1) return 2; \\
        y[M##_CLASSES] = (int8_t)m##_predict(x, y); \\
        fwrite(y, M##_CLASSES + 1, 1, stdout); \\
    }}
{includes}
int main(void) {{
    static int8_t x[64], y[64];
    {runs}
    return 0;
}}
"""


def assert_random_models_are_equal(seeds: range, folder: Path) -> tuple[int, int]:
    """All in one program. Returns how many models there were, and how many had a left shift."""
    models = {f"m{seed}": random_model(seed) for seed in seeds}
    for name, (model, _) in models.items():
        save(generate(model, "random.tflite", NO_PICTURES, name), folder)
    driver = folder / "driver.c"
    runs = "\n    ".join(f"RUN({name}, {name.upper()})" for name in models)
    driver.write_text(DRIVER.format(includes="\n".join(f'#include "{name}.h"' for name in models), runs=runs))
    sources = [driver, *(folder / "src").glob("*.c")]
    program = compile_c(sources, folder / "driver", "-I", str(folder / "src"), *SANITIZED)
    done = subprocess.run([program], input=b"".join(x.tobytes() for _, x in models.values()), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    left = start = 0
    for name, (model, x) in models.items():
        expected = NumpyAdapter(model, "reference").run(x)
        answers = np.concatenate([expected, expected.argmax(axis=1).astype(np.int8)[:, None]], axis=1).tobytes()
        assert done.stdout[start : start + len(answers)] == answers, name
        start += len(answers)
        left += any(layer.shift.max() > 0 for layer in read_layers(model))
    assert start == len(done.stdout)
    return len(models), left


@needs_gcc
def test_random_models(tmp_path: Path) -> None:
    models, left = assert_random_models_are_equal(range(6), tmp_path)
    assert models > left > 0


@needs_gcc
@pytest.mark.slow
def test_many_random_models(tmp_path: Path, counted: Callable[[str], None]) -> None:
    models, left = assert_random_models_are_equal(range(1000, 1160), tmp_path)
    counted(f"{models} random models, {left} with a left shift, all logits equal")
    assert models == 160
    assert left >= 50
