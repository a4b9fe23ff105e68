"""Commands that are struck at a chosen moment; the test's side of victims.py."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from resource import RLIMIT_FSIZE, prlimit
from typing import Any

LOAD_SECONDS, RUN_SECONDS = 120, 120


@dataclass(frozen=True)
class Blow:
    """What happens to a command ``seconds`` after its start, or after its ``event``-th event from the first file on."""

    kind: str
    seconds: float
    event: int | None = None

    def strike(self, process: int) -> None:
        """By a signal, to the whole group as from a terminal; or by a disk on which no file can grow any more."""
        if self.kind == "full":
            prlimit(process, RLIMIT_FSIZE, (0, 0))
        elif self.kind == "kill":
            os.kill(process, signal.SIGKILL)
        else:
            os.killpg(process, signal.SIGINT)


@dataclass
class Ran:
    """One run of a command: what happened when, in seconds from its start, how it ended, and what it said."""

    events: list[tuple[float, str, str]] = field(default_factory=list)
    stray: list[str] = field(default_factory=list)
    status: int | None = None
    printed: str = ""
    seconds: float = 0.0
    struck: float | None = None

    @property
    def first(self) -> int:
        """The event with which the writing begins, after what the claim does; the number of events if there is none."""
        return next((n for n, (_, event, _) in enumerate(self.events) if event == "open"), len(self.events))

    @property
    def moments(self) -> int:
        """How many events there are from the first on."""
        return len(self.events) - self.first

    @property
    def writing(self) -> bool:
        """Whether its end came between opening an output's temporary and having the output in its place."""
        begun: set[str] = set()
        for _, event, path in self.events:
            temporary = next((p for p in (path, str(Path(path).parent)) if ".unfinished" in Path(p).name), None)
            if event == "open" and temporary:
                begun.add(temporary)
            elif event in ("os.rename", "os.rmdir"):
                begun.discard(path)
        return bool(begun)


class Server:
    """The process that forks the victims; their temporary files go to ``folder/tmp``."""

    def __init__(self, folder: Path) -> None:
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self._told, its = os.pipe()
        self._read = b""
        # One thread each: it repeats better, and there are other tests on the other cores.
        threads = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "TMPDIR": str(self.temporary), "PYTHONWARNINGS": "ignore"}
        command = [sys.executable, str(Path(__file__).with_name("victims.py")), str(its)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, pass_fds=(its,), env=os.environ | threads | quiet, text=True
        )
        os.close(its)

    def __enter__(self) -> Server:
        assert self._next(LOAD_SECONDS) == ["ready"]
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        os.close(self._told)

    def run(self, *requests: dict[str, Any], blow: Blow | None = None) -> list[Ran]:
        """Run commands at once, to their ends; the first is struck, unless it ends before."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(requests) + "\n")
        self._process.stdin.flush()
        runs, started, processes = [Ran() for _ in requests], [0.0] * len(requests), [0] * len(requests)
        due = None
        while any(run.status is None for run in runs):
            if due is not None and time.perf_counter() >= due:
                due = None
                with contextlib.suppress(ProcessLookupError):
                    blow.strike(processes[0])  # type: ignore[union-attr]
                    runs[0].struck = time.perf_counter() - started[0]
            wait = RUN_SECONDS if due is None else max(0.0, due - time.perf_counter())
            told = self._next(wait)
            now = time.perf_counter()
            if told is None:
                assert due is not None, f"no word of the victims for {RUN_SECONDS} s"
                continue
            kind, number, *what = told
            run = runs[number]
            if kind == "start":
                processes[number], started[number] = what[0], now
                if number == 0 and blow and blow.event is None:
                    due = now + blow.seconds
            elif kind == "event":
                run.events.append((now - started[number], *what))
                if number == 0 and blow and blow.event is not None and run.struck is None and due is None:
                    due = now + blow.seconds if len(run.events) - 1 - run.first == blow.event else None
            elif kind == "stray":
                run.stray.append(what[0])
            else:
                run.status, run.printed = what
                run.seconds = now - started[number]
                due = None if number == 0 else due
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(processes[number], signal.SIGKILL)  # the runtimes that a killed export had started
        return runs

    def _next(self, seconds: float) -> Any:
        """The next line, parsed; None if there is none in time."""
        until = time.perf_counter() + seconds
        while b"\n" not in self._read:
            if not select.select([self._told], [], [], max(0.0, until - time.perf_counter()))[0]:
                return None
            more = os.read(self._told, 1 << 16)
            assert more, "the server of victims is gone"
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        return json.loads(line)
