"""Valid, small files of each kind."""

from __future__ import annotations

import functools
import io
import json
import subprocess
import sys
from dataclasses import asdict
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, features

from edgedigits.bundle.bundle import GOLDEN, INPUTS, MANIFEST, Bundle, Manifest
from edgedigits.bundle.manifest import InputRows
from edgedigits.runtimes.tensors import AnyArray
from edgedigits.system.files import sha256
from edgedigits.system.text import to_json

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


def npz(**stored: AnyArray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **stored)
    return stream.getvalue()


@functools.cache
def npy(name: str) -> bytes:
    """One of the arrays as an .npy."""
    stream = io.BytesIO()
    np.save(stream, arrays()[name])
    return stream.getvalue()


@functools.cache
def bundle_files() -> dict[str, bytes]:
    """The packaged bundle with those few, file by file; the manifest is the last."""
    shipped = Bundle()
    found = arrays()
    chosen = ("int8.tflite", "float32.onnx")
    files = {name: shipped.read(name) for name in chosen}
    files[INPUTS] = npz(X=found["X"], y=found["y"])
    files[GOLDEN] = npz(logits=found["logits"])
    data = {"X": sha256(found["X"].tobytes()), "y": sha256(found["y"].astype(np.int64).tobytes())}
    facts: dict[str, Any] = {
        "images": IMAGES,
        "files": {name: sha256(files[name]) for name in (INPUTS, GOLDEN)},
        "data": data,
        "rows": asdict(InputRows.of(found["X"], files[INPUTS].index(found["X"].tobytes()), 5)),
    }
    whole = shipped.manifest.to_dict()
    facts["artifacts"] = [a for a in whole["artifacts"] if a["file"] in chosen]
    manifest = Manifest.from_json(json.dumps({**whole, **facts}))
    return {**files, MANIFEST: to_json(manifest.to_dict()).encode()}


@functools.cache
def models() -> tuple[bytes, ...]:
    """The packaged .tflite files."""
    return tuple(Bundle().read(name) for name in ("int8.tflite", "float32.tflite"))


@functools.cache
def report(*command: str) -> Any:
    """The JSON of a real run of a command."""
    line = [sys.executable, "-m", "edgedigits", *command, "--json", "-"]
    return json.loads(subprocess.run(line, check=True, stdout=subprocess.PIPE).stdout)


def benchmark() -> Any:
    """A short benchmark."""
    return report("benchmark", "--quick", "--runtime", "numpy")


def parity() -> Any:
    """A parity check."""
    return report("parity", "--runtime", "numpy")


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
