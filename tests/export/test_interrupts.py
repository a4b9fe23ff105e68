"""Ctrl-C: `train` and `export` print one line and exit with 130; their outputs are unchanged or all new."""

from __future__ import annotations

import bisect
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedigits.bundle.bundle import Bundle
from edgedigits_export.interrupts import exit_on_interrupt, interrupts_deferred
from edgedigits_export.training.notebook import history_of

LINE = "edgedigits: interrupted; nothing was left half-written\n"
SEED = 20240229
MOMENTS = int(os.environ.get("EDGEDIGITS_MOMENTS", "4"))  # of each command
# Runs the command and writes a line to a pipe for every import and every file that is opened.
VICTIM = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts its background jobs with SIGINT ignored

def report(event, arguments):
    if event in ("import", "open"):
        os.write(int(sys.argv[1]), f"{event} {arguments[0]}\\n".encode())

from edgedigits.cli import main
sys.addaudithook(report)
main(sys.argv[2:])
"""


@dataclass
class Run:
    """How a command ended, the time of each event, and the seconds from Ctrl-C to the end."""

    events: list[float] = field(default_factory=list)
    interrupted: bool = False
    status: int = 0
    stderr: str = ""
    seconds: float = 0.0


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Run]:
    """Run a command; send SIGINT to its process group, as a terminal does, ``delay`` seconds after an event."""
    (tmp_path / "tmp").mkdir()

    def run(*arguments: object, until: Callable[[int, str], bool] = lambda *_: False, delay: float = 0) -> Run:
        ours, its = os.pipe()
        done = Run()
        with subprocess.Popen(
            [sys.executable, "-c", VICTIM, str(its), *map(str, arguments)],
            pass_fds=(its,),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
        ) as process:
            os.close(its)
            start = time.perf_counter()
            with os.fdopen(ours, encoding="utf-8") as lines:
                for number, line in enumerate(lines):
                    done.events.append(time.perf_counter() - start)
                    if not done.interrupted and until(number, line.rstrip("\n")):
                        time.sleep(delay)
                        done.interrupted = process.poll() is None
                        start = time.perf_counter()
                        if done.interrupted:
                            os.killpg(process.pid, signal.SIGINT)
            done.stderr = process.communicate()[1]
            done.seconds, done.status = time.perf_counter() - start, process.returncode
        with contextlib.suppress(ProcessLookupError):  # a process that stays makes the test hang
            while True:
                os.killpg(process.pid, 0)
                time.sleep(0.01)
        return done

    return run


def problems(done: Run, tmp_path: Path) -> Iterator[str]:
    """What is wrong with how an interrupted command ended."""
    if done.status != 130:
        yield f"exit status {done.status}"
    if done.stderr != LINE:
        yield f"standard error {done.stderr!r}"
    if left := [path.name for path in (tmp_path / "tmp").iterdir()]:
        yield f"left {left}"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def few(data: Path, tmp_path: Path) -> Path:
    """A data folder with every 25th digit."""
    folder = tmp_path / "few"
    folder.mkdir()
    for name in ("X.npy", "y.npy"):
        np.save(folder / name, np.load(data / name)[::25])
    return folder


@pytest.mark.parametrize(("event", "delay"), [("tensorflow", 0.5), ("keras.src.callbacks.swap_ema_weights", 3.0)])
def test_before_the_end_the_older_model_stays(
    event: str, delay: float, run: Callable[..., Run], few: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "model.keras").write_bytes(b"older")
    train = ("train", "--data", few, "--out", out, "--epochs", "1000000")
    done = run(*train, until=lambda _, line: line == f"import {event}", delay=delay)
    assert list(problems(done, tmp_path)) == []
    assert contents(out) == {"model.keras": b"older"}


def test_while_writing_all_outputs_are_written(run: Callable[..., Run], few: Path, tmp_path: Path) -> None:
    out, saving = tmp_path / "out", f"open {tmp_path}/tmp"
    train = ("train", "--data", few, "--out", out, "--epochs", "1")
    done = run(*train, until=lambda _, line: line.startswith(saving) and line.endswith("model.keras"))
    assert list(problems(done, tmp_path)) == []
    assert sorted(contents(out)) == ["history.json", "loss.png", "mistakes.png", "model.keras", "samples.png"]
    assert history_of(out / "model.keras")["epochs"] == 1


def test_temporary_files_are_removed_where_the_signal_is_ignored_too() -> None:
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as for a shell's background jobs
    try:
        with exit_on_interrupt(), tempfile.NamedTemporaryFile(delete=False) as left:
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, usual)
    assert not Path(left.name).exists()


@pytest.mark.slow
@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("command", ["train", "export"])
def test_at_any_moment(
    command: str, busy: bool, run: Callable[..., Run], few: Path, tmp_path: Path, trained: Any, counted: Any
) -> None:
    out, chance = tmp_path / "out", random.Random(SEED)
    options: tuple[object, ...] = ("train", "--epochs", "3", "--data", few, "--out", out, "--seed")
    if command == "export":
        model = trained[1] / "model.keras"
        options = ("export", "--model", model, "--data", few, "--out", out / "bundle", "--name")
    clean = run(*options, "1")
    assert (clean.status, clean.stderr) == (0, "")
    before, wrong, seconds, replaced = contents(out), [], [], 0
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
    try:
        for number in range(2, 2 + MOMENTS):
            moment = chance.uniform(clean.events[0], clean.events[-1])
            event = bisect.bisect(clean.events, moment) - 1
            done = run(*options, number, until=lambda n, _, e=event: n == e, delay=moment - clean.events[event])
            after = contents(out)
            if not done.interrupted:  # it had ended before
                before = after
                continue
            seconds.append(done.seconds)
            changed = {name for name in after if after[name] != before.get(name)}
            found = list(problems(done, tmp_path))
            if set(after) != set(before) or (changed and not is_new(command, out, changed, number)):
                found.append(f"{sorted(after)}, of which {sorted(changed)} changed")
            wrong += [f"{command} at {moment:.3f} s, event {event}: {problem}" for problem in found]
            before, replaced = after, replaced + bool(changed)
    finally:
        if other:
            other.kill()
            other.wait()
    counted(f"{len(seconds)} Ctrl-C, outputs replaced {replaced} times, ended within {max(seconds):.2f} s")
    assert "\n".join(wrong) == ""


def is_new(command: str, out: Path, changed: set[str], number: int) -> bool:
    """Whether all outputs are those of the run with this number."""
    if command == "train":  # samples.png is the same each time
        always = {"model.keras", "history.json", "loss.png", "mistakes.png"}
        return changed == always and bool(history_of(out / "model.keras")["seed"] == number)
    Bundle(out / "bundle").verify()
    return Bundle(out / "bundle").manifest.name == str(number)


def test_a_deferred_interrupt_comes_at_the_end() -> None:
    steps: list[int] = []
    with pytest.raises(KeyboardInterrupt), interrupts_deferred():  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        steps.append(1)
    assert steps == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
