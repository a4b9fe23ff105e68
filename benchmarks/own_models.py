"""Export of models as others build them: what their float files keep, and what plain and tuned int8 change.

Each model is trained for seconds in a new process, saved with its data, loaded and exported twice as by `edgedigits
export`, with --plain and without. Then the float files run in every runtime, and the int8 files in LiteRT on every
kernel set, on the training inputs and on held-out ones. After each model the rows so far are stored.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from side_by_side import RESULTS, ChildError, Row, at_most, in_child, markdown, progress, run

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

DATA = Path(__file__).parents[1] / "data"
TRAINED_ON, HELD_OUT = 1000, 2000
TARGET_LEAD = 3  # of quantize
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
FILES = ("plain", "tuned")
FARTHER = 0.05
OTHER_RUNTIMES = ("tflite-runtime", "numpy")  # beside those in which the export checks float files


class Case(NamedTuple):
    """A kind of model: its data, its layers after the input, and how it and its labels are stored."""

    data: str
    layers: Callable[[Any], list[Any]]
    activation: str | None = "softmax"
    epochs: int = 3
    labels: str = "numbers"
    stored: str = ".keras"


def dense(activation: str = "relu", units: int = 64) -> Callable[[Any], list[Any]]:
    return lambda keras: [keras.layers.Flatten(), keras.layers.Dense(units, activation)]


def convolutional(keras: Any) -> list[Any]:
    layers = keras.layers
    pairs = [(layers.Conv2D(n, 3, activation="relu", padding="same"), layers.MaxPooling2D()) for n in (8, 16)]
    return [*(layer for pair in pairs for layer in pair), layers.Flatten(), layers.Dropout(0.2)]


def mobile(keras: Any) -> list[Any]:
    layers, found = keras.layers, []
    for n in (16, 32, 64):
        found += [layers.DepthwiseConv2D(3, padding="same", strides=1 if n == 16 else 2, use_bias=False)]
        found += [layers.BatchNormalization(momentum=0.8), layers.ReLU(6.0), layers.Conv2D(n, 1, use_bias=False)]
        found += [layers.BatchNormalization(momentum=0.8), layers.ReLU(6.0)]
    return [*found, layers.GlobalAveragePooling2D()]


def nested(keras: Any) -> list[Any]:
    inner = keras.Sequential([keras.layers.Dense(48, "relu"), keras.layers.Dense(32, "relu")])
    return [keras.layers.Flatten(), keras.Sequential([inner, keras.layers.Dense(24, "relu")])]


def residual(keras: Any) -> list[Any]:
    layers = keras.layers

    def block(x: Any, n: int, strides: int) -> Any:
        short = layers.BatchNormalization(momentum=0.8)(layers.Conv2D(n, 1, strides=strides)(x))
        for step in (strides, 1):
            x = layers.Conv2D(n, 3, padding="same", strides=step, use_bias=False)(layers.ReLU()(x))
            x = layers.BatchNormalization(momentum=0.8)(x)
        return layers.ReLU()(layers.add([x, short]))

    def stack(x: Any) -> Any:
        x = layers.Conv2D(16, 3, padding="same")(x)
        return layers.GlobalAveragePooling2D()(block(block(x, 16, 2), 32, 2))

    return [stack]


def one_dimensional(keras: Any) -> list[Any]:
    return [keras.layers.Conv1D(24, 5, activation="relu", strides=2), keras.layers.GlobalMaxPooling1D()]


CASES = {
    "dense, logits": Case("rows784", dense(), None),
    "dense, softmax": Case("rows784", dense()),
    "one sigmoid": Case("low or high", dense(), "sigmoid"),
    "CNN 28x28x1": Case("28x28x1", convolutional, None),
    "CNN 32x32x3": Case("32x32x3", convolutional),
    "nested": Case("rows784", nested),
    "BN, depthwise, GAP": Case("32x32x3", mobile, epochs=5),
    "Normalization": Case("measurements", lambda keras: [keras.layers.Normalization(), *dense()(keras)]),
    "Rescaling of bytes": Case("bytes", lambda keras: [keras.layers.Rescaling(1 / 255), *convolutional(keras)]),
    "GELU": Case("rows784", dense("gelu")),
    "swish": Case("rows784", dense("swish"), None),
    "tanh, rank 2": Case("28x28", dense("tanh")),
    "Conv1D, rank 2": Case("28x28", one_dimensional),
    "SavedModel": Case("rows784", dense(), stored=""),
    ".h5": Case("28x28x1", convolutional, stored=".h5"),
    "row-major 400": Case("rows400", dense(), None),
    "300 classes": Case("300", dense(units=128), None, epochs=20),
    "one-hot": Case("rows784", dense(), labels="one-hot"),
    "names": Case("rows784", dense(), labels="names"),
    "residual, BN, 32x32x3": Case("32x32x3", residual),
}


def make_data(kind: str) -> tuple[Array, Array]:
    """Inputs and labels; the last ``HELD_OUT`` are never trained on."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(7)
    m = TRAINED_ON + HELD_OUT
    if kind in ("measurements", "300"):
        classes, values = (300, 64) if kind == "300" else (4, 9)
        centers, y = rng.normal(0, 2.0 if kind == "300" else 1.0, (classes, values)), rng.integers(0, classes, m)
        x = centers[y] + rng.normal(size=(m, values))
        return (x if kind == "300" else x * np.geomspace(0.01, 500, values) + 40).astype(np.float32), y
    with np.load(DATA / "source.npz") as first, np.load(DATA / "unseen.npz") as second:
        images, y = (np.concatenate([first[name], second[name]]) for name in ("images", "labels"))
    chosen = rng.permutation(5000)[:TRAINED_ON], 5000 + rng.permutation(5000)[:HELD_OUT]
    images, y = images[np.concatenate(chosen)], y[np.concatenate(chosen)].astype(np.int64)
    if kind == "low or high":
        return images.reshape(m, -1) / np.float32(255), y // 5
    if kind == "bytes":
        return images[..., np.newaxis], y
    side = {"rows400": 20, "32x32x3": 32}.get(kind, 28)
    resized = np.stack([np.asarray(Image.fromarray(i).resize((side, side))) for i in images]) / np.float32(255)
    if kind == "32x32x3":  # ink and paper of two random colors
        ink, paper = rng.random((2, m, 1, 1, 3), np.float32)
        return (resized[..., np.newaxis] * (ink - paper) + paper).astype(np.float32), y
    shape = {"28x28x1": (28, 28, 1), "28x28": (28, 28)}.get(kind, (side * side,))
    return resized.reshape(m, *shape), y


def train(case: Case, x: Array, y: Array) -> Any:
    """A model of this kind after a few epochs."""
    import keras

    keras.utils.set_random_seed(1)
    source = keras.Input(x.shape[1:])
    output = source
    for layer in case.layers(keras):
        if isinstance(layer, keras.layers.Normalization):
            layer.adapt(x)
        output = layer(output)
    sigmoid, classes = case.activation == "sigmoid", int(y.max()) + 1
    output = keras.layers.Dense(1 if sigmoid else classes, case.activation)(output)
    model = keras.Model(source, output, name="own")
    logits = case.activation is None
    loss = "binary_crossentropy" if sigmoid else keras.losses.SparseCategoricalCrossentropy(from_logits=logits)
    model.compile(keras.optimizers.Adam(0.003), loss)
    model.fit(x, y, epochs=case.epochs, batch_size=64, verbose=0)
    return model


def store(case: Case, folder: Path, model: Any, x: Array, y: Array) -> Path:
    """Save the model and an .npz as their owner would; returns the model's path."""
    import numpy as np

    if case.labels == "one-hot":
        y = np.eye(10)[y]
    if case.labels == "names":
        y = np.array(NAMES)[y]
    np.savez(folder / "data.npz", X=x[:TRAINED_ON], y=y[:TRAINED_ON], X_test=x[TRAINED_ON:], y_test=y[TRAINED_ON:])
    path = folder / f"own{case.stored}"
    if case.stored:
        model.save(path)
    else:
        model.export(path, verbose=False)
    return path


def child(request: Row) -> Row:
    """Train, store and export one model; count what each file changes."""
    import numpy as np

    from edgedigits.bundle.bundle import Bundle
    from edgedigits.classifier import Classifier
    from edgedigits.parity.check import check_parity
    from edgedigits_export.converting.bundle import export_bundle
    from edgedigits_export.converting.loading import load
    from edgedigits_export.training import data
    from edgedigits_export.training.model import logits_of

    case = CASES[request["name"]]
    x, y = make_data(case.data)
    trained = train(case, x[:TRAINED_ON], y[:TRAINED_ON])
    found: Row = {"name": request["name"], "parameters": trained.count_params(), "notes": []}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = load(store(case, folder, trained, x, y))
        names = NAMES if case.labels == "names" else ()  # not sorted, so that the order has to be given
        read = data.load(folder / "data.npz", tuple(model.inputs[0].shape[1:]), int(y.max()) + 1, names=names)
        assert read.held_out is not None
        for name, plain in (("plain", True), ("tuned", False)):
            start, cpu = time.perf_counter(), cpu_seconds()
            out = folder / name
            report = export_bundle(
                model, read.x, read.y, out, name="own", training={}, plain_int8=plain, labels=read.labels,
                held_out=lambda: read.held_out, only=["int8.tflite"] if plain else [], allow_mismatches=TRAINED_ON,
                on_note=found["notes"].append,
            )  # fmt: skip
            found[f"{name}_seconds"] = round(time.perf_counter() - start, 1)
            found[f"{name}_cpu_seconds"] = round(cpu_seconds() - cpu, 1)
            bundle = Bundle(out)
            found["output"] = bundle.manifest.contract.output
            if found["output"] != "logits":
                expected = bundle.manifest.contract.probabilities(logits_of(model, read.held_out.x))
                with Classifier(bundle, artifact="int8.tflite", runtime="litert") as classifier:
                    errors = np.abs(classifier.probabilities(read.held_out.x) - expected)
                found[f"{name}_probability_error"] = float(errors.max())
            rows = [row for row in report.rows if row.artifact == "int8.tflite"]
            unseen = check_parity(bundle, artifacts=["int8.tflite"], runtimes=["litert"], unseen=folder).rows
            found[f"{name}_mismatches"] = max(row.mismatches or 0 for row in rows)
            found[f"{name}_lead"] = min(row.min_lead_quanta or 0 for row in rows)
            found[f"{name}_kernel_quanta"] = rows[0].kernel_quanta
            found[f"{name}_flips"] = max(row.mismatches or 0 for row in unseen)
            found[f"{name}_bytes"] = bundle.artifact("int8.tflite").bytes
        others = check_parity(bundle, artifacts=["float32.tflite"], runtimes=OTHER_RUNTIMES).rows
        floats = [*others, *(row for row in report.rows if row.artifact.startswith("float32"))]
        found["float"] = {}
        for row in floats:
            wrong = TRAINED_ON if row.mismatches is None else row.mismatches
            found["float"][row.runtime] = max(found["float"].get(row.runtime, 0), wrong)
        outputs = logits_of(model, read.x)
        expected = bundle.manifest.contract.probabilities(outputs)
        differences = []
        for artifact, runtime in (("float32.tflite", "litert"), ("float32.onnx", "onnxruntime")):
            with Classifier(bundle, artifact=artifact, runtime=runtime) as classifier:
                differences.append(float(np.abs(classifier.probabilities(read.x) - expected).max()))
        found["probability_difference"] = max(differences)
        found["method"] = bundle.artifact("int8.tflite").facts["quantization"]["method"]
    return found


def cpu_seconds() -> float:
    """Of this process and its finished children; unlike the clock, hardly changed by a busy machine."""
    return sum(os.times()[:4])


def measure(quick: bool) -> Row:
    rows, failed = [], []
    for name in list(CASES)[:3] if quick else CASES:
        progress(name)
        try:
            rows.append(in_child(__file__, {"name": name}))
        except ChildError as cause:
            failed.append(f"{name}: {cause}")
        if not quick:
            (RESULTS / "own_models.json").write_text(json.dumps({"rows": rows, "failed": failed}, indent=2) + "\n")
    return summarize(rows, failed)


def summarize(rows: list[Row], failed: list[str]) -> Row:
    """The table and the targets of the measured models."""
    head = (
        "model", "float mismatches, worst runtime", "probability difference", "int8 mismatches, plain", "tuned",
        "least lead, plain", "tuned", f"flips of {HELD_OUT} held out, plain", "tuned",
        "largest probability error there, plain", "tuned", "kernels differ by", "seconds, plain", "tuned",
        "CPU seconds, tuned",
    )  # fmt: skip
    cells = [
        (
            r["name"], max(r["float"].values()), f"{r['probability_difference']:.0e}", r["plain_mismatches"],
            r["tuned_mismatches"] if r["method"] == "tuned" else f"{r['tuned_mismatches']} (plain)", r["plain_lead"],
            r["tuned_lead"], r["plain_flips"], r["tuned_flips"],
            *(f"{r[f'{file}_probability_error']:.3f}" if r["output"] != "logits" else "" for file in FILES),
            r["tuned_kernel_quanta"], f"{r['plain_seconds']:.0f}", f"{r['tuned_seconds']:.0f}",
            f"{r['tuned_cpu_seconds']:.0f}",
        )
        for r in rows
    ]  # fmt: skip
    worse = [r for r in rows if _rank(r, "tuned") < _rank(r, "plain")]
    more_flips = [r for r in rows if r["tuned_flips"] > r["plain_flips"]]
    plain, tuned = (sum(r[f"{name}_flips"] for r in rows) for name in ("plain", "tuned"))
    probable = [r for r in rows if r["output"] != "logits"]
    farther = [r for r in probable if r["tuned_probability_error"] > r["plain_probability_error"] + FARTHER]
    targets = [
        at_most("models that cannot be exported", len(failed), 0),
        at_most("float mismatches, all models and runtimes", max(max(r["float"].values()) for r in rows), 0),
        at_most("probability difference, the worst model", max(r["probability_difference"] for r in rows), 1e-4),
        at_most("models whose tuned file is worse than the plain one", len(worse), 0),
        at_most("models with more held-out flips than the plain one", len(more_flips), 0),
        at_most("held-out flips of all models, tuned over plain", round(tuned / max(plain, 1), 3), 1),
        at_most(
            f"models whose worst held-out probability is {FARTHER} farther off than the plain one's", len(farther), 0
        ),
        at_most("seconds, the slowest model", max(r["tuned_seconds"] for r in rows), 180),
    ]
    return {"rows": rows, "failed": failed, "table": markdown(head, cells), "targets": [*targets, *failed]}


def _rank(row: Row, file: str) -> tuple[int, int]:
    """How good a file is on what it was tuned on; a lead beyond the tuning's target is no better."""
    return -row[f"{file}_mismatches"], min(row[f"{file}_lead"], TARGET_LEAD)


if __name__ == "__main__":
    run("own_models", "Models as others build them", measure, child)
