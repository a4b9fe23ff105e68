"""The readers of untrusted input: how bad inputs are made for each, and what must hold when one is read.

The tests change valid files with a seeded generator; `make fuzz` lets atheris change them.
"""

from __future__ import annotations

import atexit
import functools
import io
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import samples
from archives import Entry, packed
from mutations import MARKUP, change_bytes, change_json, change_zip

from edgedigits.benchmark.compare import compare
from edgedigits.benchmark.text import comparison_text
from edgedigits.bundle.arrays import WHOLE, from_npz, read_npy
from edgedigits.bundle.bundle import GOLDEN, INPUTS, MANIFEST, Bundle
from edgedigits.bundle.inspection import examine
from edgedigits.classifier import open_artifact
from edgedigits.errors import EdgeDigitsError
from edgedigits.pictures.preprocessing import preprocess
from edgedigits.report.loading import load_benchmark, load_parity
from edgedigits.report.page import render_page
from edgedigits.runtimes.oracle.arithmetic import NumpyAdapter
from edgedigits.runtimes.oracle.reader import read_graph
from edgedigits.system.limits import MOST_CHARACTERS, RefusedError


def must(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)


@dataclass(frozen=True)
class Target:
    """A reader: ``read`` may raise nothing but ``refusal``; ``change`` makes a bad input from a valid one."""

    valid: Callable[[], tuple[bytes, ...]]
    change: Callable[[Random, bytes], bytes]
    read: Callable[[bytes], object]
    refusal: type[Exception]
    examples: int

    def accepts(self, content: bytes) -> bool:
        """Whether the reader takes it; a refusal is one printable line."""
        try:
            self.read(content)
        except self.refusal as error:
            printable = str(error).isprintable() and len(str(error)) < 3 * MOST_CHARACTERS
            must(printable, f"an unprintable refusal: {str(error)[:80]!r}")
            return False
        return True


@functools.cache
def folder() -> Path:
    """Where inputs are written, in memory if possible; deleted when the process ends."""
    memory = Path("/dev/shm")
    created = tempfile.TemporaryDirectory(prefix="edgedigits-fuzz-", dir=memory if memory.is_dir() else None)
    atexit.register(created.cleanup)
    return Path(created.name)


def written(content: bytes, name: str) -> Path:
    path = folder() / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def check_bundle(path: Path) -> None:
    """What opens reads as the original, bit by bit; `inspect` examines what does not."""
    original, arrays = samples.bundle_files(), samples.arrays()
    try:
        bundle = Bundle(path)
        for name in bundle.manifest.hashes:
            must(bundle.read(name) == original.get(name), f"{name} has other content")
        for artifact in bundle.manifest.artifacts:
            if artifact.format == "tflite" and "numpy" in artifact.opened_by:
                with open_artifact(bundle, artifact, "numpy", threads=1, kernels="exact") as session:
                    same = np.array_equal(session.run(arrays["X"][:3]), expected_logits(artifact.file))
                must(same, f"{artifact.file} gives other logits")
        if INPUTS in bundle.manifest.files:
            must(np.array_equal(bundle.input_row(11), arrays["X"][11]), "another row")
            must(np.array_equal(bundle.inputs()[0], arrays["X"]), "other inputs")
        if GOLDEN in bundle.manifest.files:
            must(np.array_equal(bundle.golden(), arrays["logits"]), "other golden logits")
    except EdgeDigitsError:
        examination = examine(path)
        json.dumps(examination.to_json(), allow_nan=False)
        must(all(line.isprintable() for line in examination.text().splitlines()), "unprintable problems")
        raise


@functools.cache
def expected_logits(file: str) -> Any:
    adapter = NumpyAdapter(samples.bundle_files()[file], "exact")
    return adapter.outputs.dequantize(adapter.run(adapter.inputs.quantize(samples.arrays()["X"][:3])))


def read_manifest(content: bytes) -> None:
    for name, whole in samples.bundle_files().items():
        path = written(content if name == MANIFEST else whole, f"bundle/{name}")
    check_bundle(path.parent)


def read_npz(content: bytes) -> None:
    x, y = from_npz(content, X=(["float32"], (None, 400)), y=(WHOLE, (None,)))
    must(x.ndim == 2 and x.shape[1] == 400 and x.dtype == np.float32 and y.ndim == 1, "another shape or dtype")


def read_one_npy(content: bytes) -> None:
    array = read_npy(written(content, "one.npy"))
    must(array.nbytes <= len(content) and not array.dtype.hasobject, "more than the file holds, or objects")


def read_tflite(content: bytes) -> None:
    """The reader itself, so that nothing above it hides what it raises; an accepted model must run."""
    with np.errstate(all="ignore"):
        read_graph(content)
        adapter = NumpyAdapter(content, "xnnpack")
        must(adapter.inputs.elements <= 2**24 and adapter.outputs.elements <= 2**24, "room that the file cannot fill")
        got = adapter.run(np.zeros((2, *adapter.inputs.shape), adapter.inputs.dtype))
    must(got.shape == (2, *adapter.outputs.shape) and got.dtype == adapter.outputs.dtype, "another shape or dtype")


def read_picture(content: bytes) -> None:
    row = preprocess(io.BytesIO(content), "picture").row
    must(row.shape == (400,) and row.dtype == np.float32, "another shape or dtype")
    must(bool(np.isfinite(row).all()) and float(np.abs(row).max()) < 2, "ink out of range")


@functools.cache
def valid_benchmark() -> Any:
    return load_benchmark(written(json.dumps(samples.benchmark()).encode(), "valid.json"))


def read_benchmark(content: bytes) -> None:
    report = load_benchmark(written(content, "bench.json"))
    check_page(render_page(report))
    text = comparison_text(compare(valid_benchmark(), report, across_machines=True))
    must(all(line.isprintable() for line in text.splitlines()), "a comparison that steers the terminal")


def read_parity(content: bytes) -> None:
    check_page(render_page(valid_benchmark(), load_parity(written(content, "parity.json"))))


def check_page(page: str) -> None:
    found = [text for text in MARKUP if text in page]
    must(not found, f"markup from data: {found}")
    page.encode()


def change_bundle(random: Random, valid: bytes) -> bytes:
    files = dict(samples.bundle_files())
    if random.randrange(2):
        files[MANIFEST] = change_json(random, json.loads(files[MANIFEST]))
        return packed([Entry(name.encode(), content) for name, content in files.items()])
    return change_zip(random, files)


def change_npz(random: Random, valid: bytes) -> bytes:
    x, y = samples.npy("X"), samples.npy("y")
    return change_zip(
        random, {"X.npy": change_bytes(random, x[:128]) + x[128:] if random.randrange(2) else x, "y.npy": y}
    )


def change_values(random: Random, valid: bytes) -> bytes:
    return change_bytes(random, valid) if random.randrange(4) == 0 else change_json(random, json.loads(valid))


def stored_zip() -> bytes:
    return packed([Entry(name.encode(), content, 0) for name, content in samples.bundle_files().items()])


def read_zip(content: bytes) -> None:
    check_bundle(written(content, "bundle.zip"))


TARGETS = {
    "manifest": Target(
        lambda: (samples.bundle_files()[MANIFEST],), change_values, read_manifest, EdgeDigitsError, 2000
    ),
    "zip": Target(lambda: (stored_zip(),), change_bundle, read_zip, EdgeDigitsError, 2000),
    "npz": Target(lambda: (samples.bundle_files()[INPUTS],), change_npz, read_npz, RefusedError, 3000),
    "npy": Target(lambda: (samples.npy("X"),), change_bytes, read_one_npy, RefusedError, 3000),
    "tflite": Target(samples.models, change_bytes, read_tflite, ValueError, 4000),
    "benchmark": Target(
        lambda: (json.dumps(samples.benchmark()).encode(),), change_values, read_benchmark, EdgeDigitsError, 1200
    ),
    "parity": Target(
        lambda: (json.dumps(samples.parity()).encode(),), change_values, read_parity, EdgeDigitsError, 800
    ),
    "picture": Target(samples.pictures, change_bytes, read_picture, EdgeDigitsError, 1500),
}
