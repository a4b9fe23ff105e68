"""What the inputs are made from: whole, small files of each kind."""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, features

from edgedigits.benchmark import machine
from edgedigits.benchmark.result import BenchmarkReport, LatencyRow, StartRow, SustainedPoint
from edgedigits.bundle.bundle import GOLDEN, INPUTS, MANIFEST, Bundle, Manifest
from edgedigits.bundle.input_rows import InputRows
from edgedigits.parity.result import Flip, ParityReport, ParityRow
from edgedigits.runtimes.tensors import AnyArray
from edgedigits.system.files import sha256

IMAGES = 12


@functools.cache
def arrays() -> dict[str, AnyArray]:
    """A few of the packaged bundle's inputs and logits."""
    x, y = Bundle().inputs()
    every = len(x) // IMAGES
    return {
        "X": x[::every][:IMAGES],
        "y": y[::every][:IMAGES].astype(np.uint8),
        "logits": Bundle().golden()[::every][:IMAGES],
    }


def npz(save: Callable[..., None] = np.savez_compressed, **stored: AnyArray) -> bytes:
    stream = io.BytesIO()
    save(stream, **stored)
    return stream.getvalue()


@functools.cache
def bundle_files() -> dict[str, bytes]:
    """The packaged bundle with those few, file by file; the manifest is the last."""
    shipped = Bundle()
    found = arrays()
    chosen = ("int8.tflite", "float32.onnx")
    files = {name: shipped.read(name) for name in chosen}
    files[INPUTS] = npz(np.savez, X=found["X"], y=found["y"])
    files[GOLDEN] = npz(logits=found["logits"])
    data = {"X": sha256(found["X"].tobytes()), "y": sha256(found["y"].astype(np.int64).tobytes())}
    facts: dict[str, Any] = {
        "images": IMAGES,
        "files": {name: sha256(files[name]) for name in (INPUTS, GOLDEN)},
        "data": data,
        "rows": asdict(InputRows.of(files[INPUTS], found["X"], 5)),
    }
    whole = shipped.manifest.to_dict()
    facts["artifacts"] = [a for a in whole["artifacts"] if a["file"] in chosen]
    manifest = Manifest.from_json(json.dumps({**whole, **facts}))
    return {**files, MANIFEST: manifest.to_json().encode()}


@functools.cache
def models() -> tuple[bytes, ...]:
    """The packaged .tflite files."""
    return tuple(Bundle().read(name) for name in ("int8.tflite", "float32.tflite"))


@functools.cache
def benchmark() -> Any:
    """A benchmark with every section that a page can have, in plain types."""
    row = LatencyRow(
        "int8.tflite", "litert", 1, "ok", 14456, "2.3.0", 900, 4000, 5000, 5100, 5200, 5300, 5400, 5500, 6000, 6100,
        7000, 7100, 9000, 90, 2500, 40, (4900, 5000, 5100), 0.04, False, ((4000, 100), (5000, 700), (9000, 100)),
        {"1": 5000, "32": 90_000}, 32, {"1": 5000, "2": 4000}, None, "", "0" * 64,
    )  # fmt: skip
    rows = (
        row,
        replace(row, artifact="float32.tflite", window_p50_ns=(6000, 6100, 6200), batch_ns={"1": 6000}, knee=1),
        replace(row, artifact="float32.onnx", runtime="onnxruntime", noisy=True, spread=0.3),
        LatencyRow("float32.tflite", "tflite-runtime", 1, "missing", 44152, message="not installed; pip install it"),
        LatencyRow(
            "int8.tflite", "numpy", 1, "crashed", 14456, signal="SIGSEGV", message="the runtime crashed (SIGSEGV)"
        ),
    )
    start = StartRow("int8.tflite", "litert", "ok", 2, 10**7, 10**8, 10**6, 10**4, 10**8)
    point = SustainedPoint("int8.tflite", "litert", 60.0, 1000, 5000, 1_800_000, 51_500)
    facts = machine.describe()
    facts |= {
        "model": "Pi",
        "cpu": "ARM",
        "cpu_features": ["neon"],
        "governor": "powersave",
        "packages": {"numpy": "2"},
    }
    throttling = {"raw": 0, "now": ["under-voltage"], "since_boot": []}
    report = BenchmarkReport(
        "bundle", facts, {"before": throttling, "after": throttling}, (machine.MachineWarning("load", "end it"),),
        None, False, {"windows": 3, "min_seconds": 0.1, "seed": 0, "threads": 1}, rows, (start,),
        (point, replace(point, seconds=90.0)),
    )  # fmt: skip
    return json.loads(json.dumps(report.to_json()))


@functools.cache
def parity() -> Any:
    """A parity run with a flip, a failure and a missing runtime, in plain types."""
    flip = Flip(image=7, label=6, int8_label=4, lead_quanta=0.43, int8_lead_quanta=0, kind="tie")
    row = ParityRow(
        "int8.tflite", "litert", "default", "ok", 12, "2.3.0", 1, (7,), 1, 0.5, 0.1, 0, 2, (flip,), 0.2, 1.0, "exact",
        1.5, None, "", 1, "0" * 64,
    )  # fmt: skip
    rows = (
        row,
        replace(row, kernels="reference"),
        replace(
            row, artifact="float32.tflite", mismatches=0, mismatched=(), ledger=(), min_lead_quanta=None, allowed=0
        ),
        ParityRow("float32.onnx", "onnxruntime", "default", "crashed", 12, signal="SIGSEGV", message="it died"),
        ParityRow("float32.tflite", "numpy", "reference", "missing", 12, message="not installed"),
    )
    return json.loads(json.dumps(ParityReport("bundle", 12, False, rows).to_json()))


@functools.cache
def pictures() -> tuple[bytes, ...]:
    """A small drawn digit in every format that is read, and in the modes that each has."""
    gray = Image.new("L", (44, 36), "white")
    ImageDraw.Draw(gray).line([(14, 8), (26, 8), (18, 28)], fill="black", width=3)
    color, clear = gray.convert("RGB"), gray.convert("RGBA")
    clear.putalpha(gray.point(lambda v: 255 - v))
    exif = Image.Exif()
    exif[0x0112] = 6
    made: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (gray, "PNG", {}), (clear, "PNG", {}), (gray.convert("1"), "PNG", {}),
        (gray.convert("P"), "PNG", {"transparency": 3}), (gray.convert("I").convert("I;16"), "PNG", {}),
        (color, "JPEG", {}), (gray, "JPEG", {"exif": exif, "progressive": True}), (gray, "BMP", {}),
        (color, "BMP", {}), (gray.convert("P"), "GIF", {}), (gray, "TIFF", {}), (gray.convert("F"), "TIFF", {}),
        (gray, "TIFF", {"compression": "tiff_lzw"}), (color, "TIFF", {"compression": "tiff_deflate"}),
        (gray, "PPM", {}), (color, "PPM", {}), (gray, "PCX", {}), (color, "TGA", {"compression": "tga_rle"}),
        (gray, "DIB", {}), (gray.resize((20, 20)), "PNG", {}), (gray.resize((28, 28)), "PNG", {}), (gray, "EPS", {}),
        (gray, "ICO", {}), (gray, "SGI", {}),
    ]  # fmt: skip
    made += [(gray, kind, {}) for name, kind in (("webp", "WEBP"), ("jpg_2000", "JPEG2000")) if features.check(name)]
    found = []
    for picture, kind, options in made:
        stream = io.BytesIO()
        picture.save(stream, kind, **options)
        found.append(stream.getvalue())
    return tuple(found)
