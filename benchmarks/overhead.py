"""The overhead of ``Classifier.logits`` over the bare calls of the same runtime and artifact, in the same process.

Both take a (400,) float32 row and return its 10 float32 logits. The bare loop checks nothing. For int8 it quantizes and
dequantizes with the fastest NumPy code we know: constants as full rows (scalars take half as long again), results in
reused buffers, and a table of the 256 possible logits.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from side_by_side import (
    ChildError,
    Row,
    at_most,
    in_child,
    in_turns,
    loop_ns,
    markdown,
    ratio,
    run,
    shuffled_images,
    spread,
    time_blocks,
)

if TYPE_CHECKING:
    from side_by_side import FloatArray

    from edgedigits.bundle.bundle import Bundle

    Call = Callable[[FloatArray], FloatArray]

CASES = (
    ("litert", "float32.tflite"),
    ("litert", "int8.tflite"),
    ("litert", "int8_full.tflite"),
    ("tflite-runtime", "float32.tflite"),
    ("tflite-runtime", "int8.tflite"),
    ("tflite-runtime", "int8_full.tflite"),
    ("onnxruntime", "float32.onnx"),
)
PACKAGES = {"litert": "ai_edge_litert.interpreter", "tflite-runtime": "tflite_runtime.interpreter"}
CHECKED = 500
LIMITS = {"int8.tflite in litert": 1.10}


def bare(bundle: Bundle, runtime: str, artifact: str) -> Call:
    """The runtime's own calls, with only the conversions that the artifact's dtypes need."""
    if runtime == "onnxruntime":
        return bare_onnx(bundle.read(artifact))
    interpreter = import_module(PACKAGES[runtime]).Interpreter(model_content=bundle.read(artifact), num_threads=1)
    interpreter.allocate_tensors()
    return (bare_int8 if bundle.artifact(artifact).input.scale else bare_float)(interpreter)


def bare_onnx(model: bytes) -> Call:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    call, given, got = session.run, session.get_inputs()[0].name, [session.get_outputs()[0].name]

    def logits(x: FloatArray) -> FloatArray:
        return call(got, {given: x[None]})[0][0]  # type: ignore[no-any-return]

    return logits


def bare_float(interpreter: Any) -> Call:
    given, got = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    set_tensor, invoke, get_tensor = interpreter.set_tensor, interpreter.invoke, interpreter.get_tensor

    def logits(x: FloatArray) -> FloatArray:
        set_tensor(given, x[None])
        invoke()
        return get_tensor(got)[0]  # type: ignore[no-any-return]

    return logits


def bare_int8(interpreter: Any) -> Call:
    import numpy as np

    inputs, outputs = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    given, got = inputs["index"], outputs["index"]
    (scale, zero_point), (out_scale, out_zero_point) = inputs["quantization"], outputs["quantization"]
    set_tensor, invoke, get_tensor = interpreter.set_tensor, interpreter.invoke, interpreter.get_tensor
    batch = np.empty(inputs["shape"], np.int8)
    row, work = batch[0], np.empty(batch.shape[1], np.float32)
    ends = ((q - zero_point) * scale for q in (-128, 127))
    low, high, inverse, zero = (np.full_like(work, value) for value in (*ends, 1 / scale, zero_point))
    multiply, rint, add, maximum, minimum = np.multiply, np.rint, np.add, np.maximum, np.minimum
    # table[q] is the real value of q; those of negative q are at the end, for negative indices.
    stored = np.roll(np.arange(-128, 128, dtype=np.float32), 128)
    table = (stored - np.float32(out_zero_point)) * np.float32(out_scale)

    def logits(x: FloatArray) -> FloatArray:
        maximum(x, low, out=work)
        minimum(work, high, out=work)
        multiply(work, inverse, work)
        rint(work, work)
        add(work, zero, work)
        row[...] = work
        set_tensor(given, batch)
        invoke()
        logits: FloatArray = table.take(get_tensor(got)[0])
        return logits

    return logits


def child(request: Row) -> Row:
    """One window of one case: the mean nanoseconds of each block, of both."""
    import numpy as np

    from edgedigits import Bundle, Classifier

    bundle = Bundle()
    x, _ = bundle.inputs()
    images = shuffled_images(x, request["seed"])
    plain = bare(bundle, request["runtime"], request["artifact"])
    with Classifier(bundle, request["artifact"], request["runtime"]) as classifier:
        for image in images[:CHECKED]:
            if not np.array_equal(plain(image), classifier.logits(image)):
                raise AssertionError("the bare loop and the Classifier differ in their logits")
        calls = {"bare": partial(loop_ns, plain), "classifier": partial(loop_ns, classifier.logits)}
        return time_blocks(calls, images, request["seconds"], request["seed"])


def measure(quick: bool) -> Row:
    windows: dict[str, list[Row]] = {}
    cases = {f"{artifact} in {runtime}": (runtime, artifact) for runtime, artifact in CASES}
    missing: dict[str, str] = {}
    for number, name in in_turns(cases, 2 if quick else 9):
        runtime, artifact = cases[name]
        request = {"runtime": runtime, "artifact": artifact, "seconds": 0.5 if quick else 3.0, "seed": number}
        try:
            windows.setdefault(name, []).append(in_child(__file__, request))
        except ChildError as error:
            missing[name] = str(error)
    rows = [_row(name, windows[name]) for name in cases if name in windows and name not in missing]
    table = markdown(
        ("one image", "bare, ns", "`Classifier.logits`, ns", "ratio", "ratios of the windows"),
        (
            (
                row["case"],
                f"{row['bare_ns']:,.0f}",
                f"{row['classifier_ns']:,.0f}",
                f"{row['ratio']:.3f}",
                f"{min(row['window_ratios']):.3f} to {max(row['window_ratios']):.3f}",
            )
            for row in rows
        ),
    )
    targets = [at_most(f"{row['case']}: ratio", row["ratio"], LIMITS.get(row["case"], 1.15)) for row in rows]
    targets += [f"not measured: {name}: {why}" for name, why in missing.items()]
    return {"windows": 2 if quick else 9, "rows": rows, "table": table, "targets": targets, "missing": missing}


def _row(name: str, windows: list[Row]) -> Row:
    plain = [ns for window in windows for ns in window["bare"]]
    ours = [ns for window in windows for ns in window["classifier"]]
    medians = [statistics.median(window["classifier"]) for window in windows]
    return {
        "case": name,
        "blocks": len(plain),
        "bare_ns": round(statistics.median(plain), 1),
        "classifier_ns": round(statistics.median(ours), 1),
        "ratio": round(ratio(ours, plain), 4),
        "window_ratios": [round(ratio(window["classifier"], window["bare"]), 4) for window in windows],
        "spread_of_window_medians": round(spread(medians), 4),
    }


if __name__ == "__main__":
    run("overhead", "Overhead: Classifier.logits against the bare calls", measure, child)
