"""The number of instructions, not the time, of an image and of a start on emulated Raspberry Pis.

QEMU runs the Pi's own Python and runtimes and our wheel (``tests/emulated/pis.py``), and a plugin (``icount.c``) counts
what the guest executes. Environment, folder and versions are fixed and every module is compiled, so a count repeats;
everything is counted twice, and differences are reported.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from overhead import CASES
from side_by_side import Row, at_most, markdown, progress, run

PROJECT = Path(__file__).parents[1]
sys.path.insert(0, str(PROJECT / "tests" / "emulated"))

from pi_cache import CACHE  # noqa: E402
from pi_debian import UnavailableError  # noqa: E402
from pis import PIS, Machine, build_wheel, draw_digit, set_up  # noqa: E402

Counts = dict[str, float]
MOST = 1.3
NEARLY = 1e-4
PASS, VERSION = "python -c pass", "edgedigits --version"
PACKAGES = {
    "litert": ("ai-edge-litert", "ai_edge_litert.interpreter"),
    "tflite-runtime": ("tflite-runtime", "tflite_runtime.interpreter"),
    "onnxruntime": ("onnxruntime", "onnxruntime"),
}
# NumPy seeds a generator from it as it is imported, which takes a few thousand instructions more or less each time.
NO_RANDOMNESS = "import os\n\nos.urandom = lambda n: bytes(i % 256 for i in range(n))\n"
# Guest code; argv: runtime, artifact. Three marks a call: around the first rounds and the others.
CALLS = """
import os, sys
import numpy as np
from overhead import bare
from edgedigits import Bundle, Classifier

def mark():
    try:
        os.getpriority(0x51ed, 0)
    except OSError:
        pass

runtime, artifact = sys.argv[1:]
bundle = Bundle()
images = list(bundle.inputs()[0][:5000:50].copy())
plain = bare(bundle, runtime, artifact)
with Classifier(bundle, artifact, runtime) as classifier:
    invoke = classifier.session.invoke
    assert all(np.array_equal(plain(image), classifier.logits(image)) for image in images)
    for call in (lambda image: None, lambda image: invoke(), plain, classifier.logits):
        for rounds in (1, 3):
            mark()
            for _ in range(rounds):
                for image in images:
                    call(image)
        mark()
"""
IMAGES = 100
FACTS = """
import importlib.metadata, json, os, platform
found = {d.metadata["Name"].lower(): d.version for d in importlib.metadata.distributions()}
names = ("edgedigits", "numpy", "pillow", "click", "ai-edge-litert", "tflite-runtime", "onnxruntime")
packages = {name: found[name] for name in names if name in found}
print(json.dumps({"python": platform.python_version(), "libc": os.confstr("CS_GNU_LIBC_VERSION"), **packages}))
"""


class Counter:
    """Counts instructions on one Pi; ``plugin`` is the compiled icount.c."""

    def __init__(self, machine: Machine, plugin: Path) -> None:
        self.machine, self.plugin = machine, plugin
        draw_digit(machine.folder / "digit.png")
        path = machine.folder / "counted" / "sitecustomize.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(NO_RANDOMNESS, encoding="utf-8")

    @cached_property
    def versions(self) -> dict[str, str]:
        """The versions of QEMU and of the packages on the Pi."""
        return {"qemu": _qemu_version(), **json.loads(self._run("-c", FACTS).stdout)}

    @property
    def cases(self) -> list[tuple[str, str]]:
        """(runtime, artifact) of what is installed."""
        return [case for case in CASES if PACKAGES[case[0]][0] in self.versions]

    def plain_starts(self) -> Counts:
        """Instructions of a process that loads no model."""
        return {PASS: self._start("-c", "pass"), VERSION: self._start(self._edgedigits, "--version")}

    def commands(self, runtime: str, artifact: str) -> Counts:
        """Instructions of `predict` for one digit, from a picture and from the bundle."""
        predict = (self._edgedigits, "predict", "--artifact", artifact, "--runtime", runtime)
        return {"picture": self._start(*predict, "digit.png"), "index": self._start(*predict, "--index", "1015")}

    def imports(self, runtime: str) -> Counts:
        """Instructions of a process that only imports what each command needs.

        These are click, NumPy, the runtime, and for a picture Pillow with its PNG reader.
        """
        module = PACKAGES[runtime][1]
        return {
            "picture_imports": self._start("-c", f"import click, numpy, PIL.PngImagePlugin, {module}"),
            "index_imports": self._start("-c", f"import click, numpy, {module}"),
        }

    def all(self, runtime: str, artifact: str) -> Counts:
        """Calls, commands and imports."""
        return {**self.calls(runtime, artifact), **self.imports(runtime), **self.commands(runtime, artifact)}

    @property
    def _edgedigits(self) -> str:
        return str(self.machine.venv / "bin" / "edgedigits")

    def _start(self, *arguments: str) -> int:
        """The instructions of a process."""
        return self._count(*arguments)[-1]

    def compile(self) -> None:
        """Start everything once, for Python compiles a module when it is first imported, and lays out its heap else."""
        self._run(self._edgedigits, "--version")
        self._run("-c", "import overhead")
        for runtime, artifact in self.cases:
            predict = (self._edgedigits, "predict", "--artifact", artifact, "--runtime", runtime)
            shown = self._run(*predict, "digit.png", "--index", "1015").stdout
            if shown.count(": 2 ") != 2:
                raise SystemExit(f"{self.machine.pi.name}: {artifact} in {runtime} did not read the 2s: {shown}")

    def calls(self, runtime: str, artifact: str) -> Counts:
        """Instructions of one image: of ``invoke``, the bare loop, ``Classifier.logits``; the ``for`` is taken off."""
        marks = self._count("-c", CALLS, runtime, artifact)
        # From the second mark to the third are three rounds, from the first to the second one; the marks' own cost
        # and what happens only once are in both.
        each = [((c - b) - (b - a)) / (2 * IMAGES) for a, b, c in zip(*[iter(marks[:-1])] * 3, strict=True)]
        loop = each[0]
        return dict(zip(("invoke", "bare", "logits"), (round(count - loop, 1) for count in each[1:]), strict=True))

    def _count(self, *arguments: str) -> list[int]:
        """The count at each mark, and at the end."""
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "count"
            self._run(*arguments, options=("-plugin", f"{self.plugin},out={out}"))
            return [int(line.split()[1]) for line in out.read_text(encoding="ascii").splitlines()]

    def _run(self, *arguments: str, options: Iterable[str] = ()) -> subprocess.CompletedProcess[str]:
        machine = self.machine
        environment = {"PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}
        environment["ORT_DISABLE_TELEMETRY"] = "1"  # its threads run on by the clock
        environment["PYTHONPATH"] = f"{machine.folder / 'counted'}:{Path(__file__).parent}"
        command = [*machine.qemu(*options, called=str(machine.venv / "bin" / "python3")), *arguments]
        done = subprocess.run(command, env=environment, cwd=machine.folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{machine.pi.name}: {' '.join(arguments)[:200]}: status {done.returncode}: {done.stderr}")
        return done


def build_plugin(folder: Path) -> Path:
    """Compile icount.c; UnavailableError where that cannot be done."""
    if shutil.which("cc") is None:
        raise UnavailableError("no C compiler for the plugin that counts; Debian: apt-get install gcc libc6-dev")
    plugin = folder / "icount.so"
    source = str(Path(__file__).parent / "icount.c")
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(plugin), source], check=True)
    return plugin


def _qemu_version() -> str:
    """Such as ``QEMU 7.2.22``."""
    shown = subprocess.run(["qemu-aarch64", "--version"], capture_output=True, text=True, check=True).stdout
    return "QEMU " + shown.split("version ")[1].split()[0]


@contextmanager
def _machines(names: Iterable[str]) -> Iterator[list[Counter]]:
    """Counters on Pis in folders that are the same each time, since the length of a path counts."""
    with tempfile.TemporaryDirectory() as built:
        wheel, plugin = build_wheel(Path(built)), build_plugin(Path(built))

        def prepare(name: str) -> Counter:
            progress(f"setting up {name}")
            folder = CACHE / "counted" / name
            shutil.rmtree(folder, ignore_errors=True)
            machine = set_up(PIS[name], folder)
            machine.install(wheel)
            counter = Counter(machine, plugin)
            counter.compile()
            return counter

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            yield list(pool.map(prepare, names))


def measure(quick: bool) -> Row:
    times = 1 if quick else 2
    with _machines(["pi4"] if quick else PIS) as counters, ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        plain = {counter: [pool.submit(counter.plain_starts) for _ in range(times)] for counter in counters}
        cases = [(counter, runtime, artifact) for counter in counters for runtime, artifact in counter.cases]
        counts = [[pool.submit(counter.all, *case) for _ in range(times)] for counter, *case in cases]
        found: dict[str, Row] = {}
        unequal: Row = {}
        for counter in counters:
            pi = counter.machine.pi
            about = {"model": pi.model, "system": pi.system.name, "cpu": pi.cpu, "versions": counter.versions}
            found[pi.name] = {**about, "starts": _same(pi.name, plain[counter], unequal), "cases": {}}
        for (counter, runtime, artifact), futures in zip(cases, counts, strict=True):
            name, case = counter.machine.pi.name, f"{artifact} in {runtime}"
            found[name]["cases"][case] = _same(f"{name}, {case}", futures, unequal)
    lines = targets(found)
    if not quick:
        numbers = sum(len(row) for pi in found.values() for row in (pi["starts"], *pi["cases"].values()))
        most = max((abs(again / count - 1) for count, again in unequal.values()), default=0.0)
        lines.append(f"counted twice: {numbers - len(unequal)} of {numbers} numbers are the same to the instruction")
        lines.append(at_most("the others differ by", most, NEARLY))
    return {"pis": found, "unequal": unequal, "table": tables(found), "targets": lines}


def _same(where: str, futures: Iterable[Future[Counts]], unequal: Row) -> Counts:
    """What was counted first; where it was another number again, both go to ``unequal``.

    A clock is read here and there, such as by Python's garbage collector, and how long it takes to work on the time
    depends on the time: a 32-bit ARM divides it by a loop.
    """
    first, *others = [future.result() for future in futures]
    for what, count in first.items():
        again = [other[what] for other in others if other[what] != count]
        if again:
            unequal[f"{where}: {what}"] = [count, *again]
    return first


def tables(pis: dict[str, Row]) -> str:
    """Tables of images, predictions from the shell, and other starts."""
    images: list[tuple[str, ...]] = []
    starts: list[tuple[str, ...]] = []
    others: list[tuple[str, ...]] = []
    for pi in pis.values():
        where = f"{pi['model'].partition(' Rev')[0]}, {pi['system']}"
        others.append((where, *(f"{pi['starts'][name] / 1e6:.1f}" for name in (PASS, VERSION))))
        for name, row in pi["cases"].items():
            call = (f"{row[key]:,.0f}" for key in ("invoke", "bare", "logits"))
            images.append((where, name, *call, f"{row['logits'] / row['bare']:.2f}"))
            for key, command in (("picture", "`predict digit.png`"), ("index", "`predict --index 1015`")):
                pair = (f"{row[which] / 1e6:.1f}" for which in (f"{key}_imports", key))
                starts.append((where, name, command, *pair, f"{row[key] / row[f'{key}_imports']:.2f}"))
    unit, millions = "instructions, not time: one image", "millions of instructions, not time: one process"
    found = (
        markdown((unit, "artifact", "`invoke` alone", "bare loop", "`Classifier.logits`", "ratio"), images),
        markdown((millions, "artifact", "command", "its imports", "the command", "ratio"), starts),
        markdown((millions, f"`{PASS}`", f"`{VERSION}`"), others),
    )
    return "\n\n".join(found)


def targets(pis: dict[str, Row]) -> list[str]:
    """The targets, one line each, for the row with the highest ratio."""
    rows = [(f"{name}, {case}", row) for name, pi in pis.items() for case, row in pi["cases"].items()]
    lines = []
    for what, over in (("logits", "bare"), ("picture", "picture_imports"), ("index", "index_imports")):
        where, row = max(rows, key=lambda at: at[1][what] / at[1][over])
        lines.append(at_most(f"{what}, times {over}, at its worst ({where})", row[what] / row[over], MOST))
    return lines


if __name__ == "__main__":
    run("emulated", "Instructions, not time, on emulated Raspberry Pis", measure)
