"""The readers of untrusted input: how bad inputs are made for each, and what must hold of it.

One table for `make test-all`, where hypothesis makes the tapes, and `make fuzz`, where a coverage-guided fuzzer does.
"""

from __future__ import annotations

import functools
import io
import json
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import archives
import numpy as np
import samples
from tape import Tape, changed_bytes, changed_json

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
    """A reader.

    Attributes:
        build: an input from a tape.
        read: reads it; it fails if it raises anything but ``refusal``.
        refusal: how the reader refuses.
        seeds: whole inputs, for a fuzzer that changes bytes itself.
        examples: how many inputs `make test` makes.
    """

    build: Callable[[Tape], bytes]
    read: Callable[[bytes], object]
    refusal: type[Exception]
    seeds: Callable[[], tuple[bytes, ...]]
    examples: int

    def input_of(self, tape: bytes) -> bytes:
        """The input that a tape makes; a tape that begins with 0 is followed by the input itself."""
        return tape[1:] if tape[:1] == b"\0" else self.build(Tape(tape[1:]))

    def accepts(self, content: bytes) -> bool:
        """Whether the reader takes it; nothing but a refusal may stop it, and that is one line that can be printed."""
        try:
            self.read(content)
        except self.refusal as error:
            must(
                str(error).isprintable() and len(str(error)) < 3 * MOST_CHARACTERS,
                f"an unprintable refusal: {str(error)[:80]!r}",
            )
            return False
        return True


@functools.cache
def folder() -> Path:
    """Where inputs are written; gone when the process ends."""
    memory = Path("/dev/shm")  # a disk would take longer than the reading
    held = tempfile.TemporaryDirectory(prefix="edgedigits-fuzz-", dir=memory if memory.is_dir() else None)
    folder_of.append(held)
    return Path(held.name)


folder_of: list[tempfile.TemporaryDirectory[str]] = []  # holds it


def written(content: bytes, name: str) -> Path:
    path = folder() / name
    path.write_bytes(content)
    return path


def same_bundle(bundle: Bundle) -> None:
    """What opens reads as the original, bit by bit: no other bytes, tensors or answers."""
    original = samples.bundle_files()
    for artifact in bundle.manifest.artifacts:
        must(bundle.read(artifact.file) == original.get(artifact.file), f"{artifact.file} is another one")
        if artifact.format == "tflite" and "numpy" in artifact.opened_by:
            with open_artifact(bundle, artifact, "numpy", threads=1, kernels="exact") as session:
                logits = session.run(samples.arrays()["X"][:3])
            must(np.array_equal(logits, expected_logits(artifact.file)), f"{artifact.file} answers otherwise")
    for name in bundle.manifest.files:
        must(bundle.read(name) == original.get(name), f"{name} is another one")
    if INPUTS in bundle.manifest.files:
        for index in (0, samples.IMAGES - 1):
            must(np.array_equal(bundle.input_row(index), samples.arrays()["X"][index]), f"another row {index}")
        must(np.array_equal(bundle.inputs()[0], samples.arrays()["X"]), "other inputs")
    if GOLDEN in bundle.manifest.files:
        must(np.array_equal(bundle.golden(), samples.arrays()["logits"]), "other golden logits")


@functools.cache
def expected_logits(file: str) -> Any:
    adapter = NumpyAdapter(samples.bundle_files()[file], "exact")
    return adapter.outputs.dequantize(adapter.run(adapter.inputs.quantize(samples.arrays()["X"][:3])))


def read_manifest(content: bytes) -> None:
    place = folder() / "bundle"
    if not place.exists():
        place.mkdir()
        for name, whole in samples.bundle_files().items():
            (place / name).write_bytes(whole)
    (place / MANIFEST).write_bytes(content)
    try:
        same_bundle(Bundle(place))
    except EdgeDigitsError:
        if not zlib.crc32(content) % 4:  # it takes as long again
            examined(place)
        raise


def read_bundle(content: bytes) -> None:
    path = written(content, "bundle.zip")
    try:
        bundle = Bundle(path)
        same_bundle(bundle)
    except EdgeDigitsError:
        if not zlib.crc32(content) % 4:
            examined(path)
        raise


def examined(path: Path) -> None:
    """`inspect` says what is wrong, or that there is nothing to be said."""
    try:
        examination = examine(path)
    except EdgeDigitsError as error:
        must(str(error).isprintable(), "an unprintable refusal")
        return
    json.dumps(examination.to_json(), allow_nan=False)
    must(all(line.isprintable() for line in examination.text().splitlines()), "unprintable problems")


WANTED: dict[str, Any] = {"X": (["float32"], (None, 400)), "y": (WHOLE, (None,))}


def read_npz(content: bytes) -> None:
    x, y = from_npz(content, **WANTED)
    must(x.ndim == 2 and x.shape[1] == 400 and x.dtype == np.float32 and y.ndim == 1, "another shape or dtype")


def read_one_npy(content: bytes) -> None:
    array = read_npy(written(content, "one.npy"))
    must(array.nbytes <= len(content) and not array.dtype.hasobject, "more than the file holds, or objects")


def read_tflite(content: bytes) -> None:
    """The reader itself, so that nothing above it hides what it raises; and it must run, or have refused."""
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


class Page(HTMLParser):
    """The elements of a page, and the attributes of each."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: set[tuple[str, str]] = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found |= {(tag, "")} | {(tag, name) for name, _ in attrs}

    def handle_comment(self, data: str) -> None:
        self.found.add(("comment", data))

    def handle_pi(self, data: str) -> None:
        self.found.add(("instruction", data))

    def unknown_decl(self, data: str) -> None:
        self.found.add(("declaration", data))


@functools.cache
def usual() -> frozenset[tuple[str, str]]:
    """What the page of the samples, with and without parity, consists of: all that markup may come from is our code."""
    bench = load_benchmark(written(json.dumps(samples.benchmark()).encode(), "whole.json"))
    proved = load_parity(written(json.dumps(samples.parity()).encode(), "whole-parity.json"))
    found = Page(render_page(bench)).found | Page(render_page(bench, proved)).found
    return frozenset(found | {("svg", "x"), ("path", ""), ("path", "d"), ("path", "class")})  # a bar that is cut


def harmless(text: str) -> None:
    strange = Page(text).found - usual()
    must(not strange, f"markup from data: {sorted(strange)[:3]}")
    text.encode()


def read_benchmark(content: bytes) -> None:
    usual()
    report = load_benchmark(written(content, "bench.json"))
    harmless(render_page(report))
    other = load_benchmark(folder() / "whole.json")
    told = comparison_text(compare(other, report, across_machines=True))
    must(all(line.isprintable() for line in told.splitlines()), "a comparison that steers the terminal")


def read_parity(content: bytes) -> None:
    usual()
    report = load_parity(written(content, "parity.json"))
    harmless(render_page(load_benchmark(folder() / "whole.json"), report))


def build_manifest(tape: Tape) -> bytes:
    whole = samples.bundle_files()[MANIFEST]
    return changed_bytes(tape, whole) if not tape.below(4) else changed_json(tape, json.loads(whole))


def build_bundle(tape: Tape) -> bytes:
    if not tape.below(4):
        return changed_bytes(tape, whole_zip())
    files = dict(samples.bundle_files())
    if not tape.below(4):
        files[MANIFEST] = build_manifest(tape)
    return archives.changed_zip(tape, files)


@functools.cache
def whole_zip() -> bytes:
    return archives.packed([archives.Entry(n.encode(), c, 0) for n, c in samples.bundle_files().items()])


def build_npz(tape: Tape) -> bytes:
    """X and y, of which either can be changed."""
    files = {}
    for name, dtype, shape, size in (("X", "'<f4'", "(12, 400)", 19_200), ("y", "'|u1'", "(12,)", 12)):
        body = tape.take(1) * size
        plain = archives.npy(f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}", body)
        files[f"{name}.npy"] = archives.changed_npy(tape, dtype, shape, body) if tape.below(2) else plain
    kind = tape.below(3)
    if kind == 0:
        return archives.changed_zip(tape, files)
    return archives.packed([archives.Entry(n.encode(), c, 8 * (kind - 1)) for n, c in files.items()])


def build_npy(tape: Tape) -> bytes:
    x = samples.arrays()["X"]
    return archives.changed_npy(tape, "'<f4'", "(12, 400)", x.tobytes())


def build_tflite(tape: Tape) -> bytes:
    return changed_bytes(tape, tape.pick(samples.models()))


TARGETS = {
    "manifest": Target(
        build_manifest, read_manifest, EdgeDigitsError, lambda: (samples.bundle_files()[MANIFEST],), 3000
    ),
    "zip": Target(build_bundle, read_bundle, EdgeDigitsError, lambda: (whole_zip(),), 3000),
    "npz": Target(build_npz, read_npz, RefusedError, lambda: (samples.bundle_files()[INPUTS],), 3000),
    "npy": Target(build_npy, read_one_npy, RefusedError, lambda: (build_npy(Tape(b"\x08")),), 3000),
    "tflite": Target(build_tflite, read_tflite, ValueError, samples.models, 4000),
    "benchmark": Target(
        lambda tape: changed_json(tape, samples.benchmark()),
        read_benchmark,
        EdgeDigitsError,
        lambda: (json.dumps(samples.benchmark()).encode(),),
        1200,
    ),
    "parity": Target(
        lambda tape: changed_json(tape, samples.parity()),
        read_parity,
        EdgeDigitsError,
        lambda: (json.dumps(samples.parity()).encode(),),
        800,
    ),
    "picture": Target(
        lambda tape: changed_bytes(tape, tape.pick(samples.pictures())),
        read_picture,
        EdgeDigitsError,
        samples.pictures,
        1500,
    ),
}
