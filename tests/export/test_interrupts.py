"""Ctrl-C: `train` and `export` print one line and exit with 130; their outputs are unchanged or all new."""

from __future__ import annotations

import bisect
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from edgedigits.bundle.bundle import Bundle
from edgedigits_export.interrupts import exit_on_interrupt, interrupts_deferred
from edgedigits_export.training.notebook import history_of

LINE = "edgedigits: interrupted; nothing was left half-written\n"
SEED = 20240229
# Runs the command and writes a line to a pipe for every import and every file that is opened.
VICTIM = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts its background jobs with SIGINT ignored
pipe = int(sys.argv[1])

def report(event, arguments):
    if event in ("import", "open"):
        os.write(pipe, f"{event} {arguments[0]}\\n".encode())

from edgedigits.cli import main
sys.addaudithook(report)
main(sys.argv[2:])
"""


@dataclass
class Run:
    """How a command ended: exit status, output, when each event came, and the seconds from Ctrl-C to the end."""

    status: int = 0
    stdout: str = ""
    stderr: str = ""
    events: list[float] = field(default_factory=list)
    struck: bool = False
    seconds_after: float = 0.0


class Commands:
    """Runs commands, and interrupts them after an event."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.temporary = folder, folder / "tmp"
        self.temporary.mkdir()

    def run(
        self, *arguments: object, until: Callable[[int, str], bool] = lambda number, event: False, delay: float = 0
    ) -> Run:
        """Send SIGINT to the process group, as a terminal does, ``delay`` seconds after the event ``until`` accepts."""
        ours, its = os.pipe()
        ran = Run()
        command = [sys.executable, "-c", VICTIM, str(its), *map(str, arguments)]
        process = subprocess.Popen(
            command,
            pass_fds=(its,),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "TMPDIR": str(self.temporary)},
        )
        os.close(its)
        start = time.perf_counter()
        with os.fdopen(ours, encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                ran.events.append(time.perf_counter() - start)
                if not ran.struck and until(number, line.rstrip("\n")):
                    time.sleep(delay)
                    ran.struck = process.poll() is None
                    start = time.perf_counter()
                    if ran.struck:
                        os.killpg(process.pid, signal.SIGINT)
        ran.stdout, ran.stderr = process.communicate()
        ran.seconds_after, ran.status = time.perf_counter() - start, process.returncode
        while _group_exists(process.pid):  # a process that stays makes the test hang, and fail by its name
            time.sleep(0.01)
        return ran

    def problems(self, ran: Run) -> Iterator[str]:
        """What is wrong with how an interrupted command ended."""
        if ran.status != 130:
            yield f"exit status {ran.status}"
        if ran.stderr != LINE:
            yield f"standard error {ran.stderr!r}"
        if left := [path.name for path in self.temporary.iterdir()]:
            yield f"left {left}"


def _group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


@pytest.fixture
def few(data: Path, tmp_path: Path) -> Path:
    """A data folder with every 25th digit."""
    folder = tmp_path / "few"
    folder.mkdir()
    for name in ("X.npy", "y.npy"):
        np.save(folder / name, np.load(data / name)[::25])
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_while_training_the_older_model_stays(commands: Commands, few: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "model.keras").write_bytes(b"older")
    train = ("train", "--data", few, "--out", out, "--epochs", "1000000")
    for event, delay in (("import tensorflow", 0.5), ("import keras.src.callbacks.swap_ema_weights", 3.0)):
        ran = commands.run(*train, until=lambda _, line, event=event: line == event, delay=delay)  # type: ignore[misc]
        assert list(commands.problems(ran)) == []
        assert contents(out) == {"model.keras": b"older"}


def test_while_writing_all_outputs_are_written(commands: Commands, few: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    train = ("train", "--data", few, "--out", out, "--epochs", "1")
    ran = commands.run(*train, until=lambda _, line: line.startswith(f"open {tmp_path}/tmp") and "model.keras" in line)
    assert list(commands.problems(ran)) == []
    assert sorted(contents(out)) == ["history.json", "loss.png", "mistakes.png", "model.keras", "samples.png"]
    assert history_of(out / "model.keras")["epochs"] == 1


@pytest.mark.slow
@pytest.mark.parametrize(("command", "busy"), [("train", False), ("train", True), ("export", False), ("export", True)])
def test_at_any_moment(
    command: str,
    busy: bool,
    commands: Commands,
    few: Path,
    tmp_path: Path,
    trained: tuple[object, Path],
    counted: Callable[[str], None],
) -> None:
    out, moments = tmp_path / "out", random.Random(SEED)
    options: tuple[object, ...] = ("--epochs", "3", "--out", out, "--seed")
    if command == "export":
        options = ("--model", trained[1] / "model.keras", "--out", out / "bundle", "--name")
    clean = commands.run(command, "--data", few, *options, "1")
    assert (clean.status, clean.stderr) == (0, "")
    names, before = set(contents(out)), contents(out)
    problems, longest, replaced, count = [], 0.0, 0, 0
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
    try:
        for number in range(2, 17):
            moment = moments.uniform(clean.events[0], clean.events[-1])
            event = bisect.bisect(clean.events, moment) - 1
            ran = commands.run(
                command,
                "--data",
                few,
                *options,
                number,
                until=lambda index, _, event=event: index == event,  # type: ignore[misc]
                delay=moment - clean.events[event],
            )
            if not ran.struck:  # the command had ended before
                continue
            count, longest = count + 1, max(longest, ran.seconds_after)
            after = contents(out)
            changed = {name for name in after if after[name] != before.get(name)}
            found = list(commands.problems(ran))
            if set(after) != names or (changed and not is_new(command, out, changed, number)):
                found.append(f"{sorted(after)}, of which {sorted(changed)} changed")
            problems += [f"{command} at {moment:.3f} s, event {event}: {problem}" for problem in found]
            before, replaced = after, replaced + bool(changed)
    finally:
        if other:
            other.kill()
            other.wait()
    counted(f"{count} interruptions of {command}, outputs replaced {replaced} times, ended within {longest:.2f} s")
    assert "\n".join(problems) == ""
    assert count > 10


def is_new(command: str, out: Path, changed: set[str], number: int) -> bool:
    """Whether all outputs are those of the run with this number."""
    if command == "train":  # samples.png is the same picture each time
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


def test_a_program_with_a_handler_of_its_own_keeps_it() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        with exit_on_interrupt():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.SIGINT]
