"""The way of one host: probe it, install the kit that fits, run the commands, fetch their results."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from edgedigits import __version__
from edgedigits.benchmark.result import BenchmarkReport
from edgedigits.benchmark.text import watch_summary
from edgedigits.errors import EdgeDigitsError
from edgedigits.kit.targets import Target
from edgedigits.parity.result import ParityReport
from edgedigits.remote.device import BUNDLE, MARK
from edgedigits.remote.kits import StoredKit
from edgedigits.remote.probe import DeviceFacts, probe_script, read_probe
from edgedigits.remote.ssh import Connection, HostError, StoppedError
from edgedigits.report.loading import load_benchmark, load_parity
from edgedigits.runtimes.wheels import Version, version_text
from edgedigits.system.files import write_text
from edgedigits.system.limits import RefusedError, parse_json, printable
from edgedigits.system.terminal import FAILED, TROUBLE

FOLDER = f"~/.cache/edgedigits/{__version__}"
# The remote shell may be any, so all else goes through standard input.
_START = "{python} -I -c 'import sys; i = sys.stdin.buffer; exec(i.read(int(i.readline())))'"
_SPARE_BYTES = 1_000_000  # for results

GetKit = Callable[[Target, Version, str | None], StoredKit]


@dataclass(frozen=True)
class Step:
    """A command to run on the device, with its options."""

    name: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class SentBundle:
    """A bundle to run the commands on: the name of a packaged one, or the .zip to copy to the device."""

    name: str
    content: bytes | None = None


@dataclass(frozen=True)
class Task:
    """What to do on every host; the results go to ``output/HOST/STEP.json``."""

    steps: tuple[Step, ...]
    output: Path
    bundle: SentBundle | None = None
    runtime: str | None = None
    remove: bool = False


@dataclass(frozen=True)
class HostResult:
    """What came of one host.

    Attributes:
        status: 0, FAILED (a check failed there) or TROUBLE (the host could not be used).
        message: if the status is not 0, what failed and what to do.
        did: what was installed before the commands.
        verdict: what doctor or a watch says at its end.
        files: the result of each step that ran.
    """

    host: str
    status: int = 0
    message: str = ""
    facts: DeviceFacts | None = None
    runtime: str | None = None
    did: str = ""
    verdict: str = ""
    files: dict[str, Path] | None = None
    parity: ParityReport | None = None
    benchmark: BenchmarkReport | None = None

    def to_json(self) -> dict[str, Any]:
        """The result as JSON types, without what the files contain."""
        facts = self.facts
        return {
            "host": self.host,
            "status": ["ok", "failed", "trouble"][self.status],
            "message": self.message,
            "system": facts and facts.system,
            "machine": facts and facts.machine,
            "libc": facts and facts.libc,
            "python": facts and version_text(facts.python),
            "runtime": self.runtime,
            "did": self.did,
            "verdict": self.verdict,
            "files": {step: str(path) for step, path in (self.files or {}).items()},
        }


def file_name(host: str) -> str:
    """The host as the name of a folder."""
    return re.sub(r"[^\w@.-]+", "_", host.removeprefix("ssh://"), flags=re.ASCII).lstrip(".-") or "host"


class Visit:
    """All that is done on one host, in a thread of its own."""

    def __init__(
        self, host: str, connection: Connection, task: Task, get_kit: GetKit, show: Callable[[str, str], None]
    ) -> None:
        """``show`` takes the stage that begins, or the current one and how far it is."""
        self._connection, self._task, self._get_kit, self._show_all = connection, task, get_kit, show
        self._folder = task.output / file_name(host)
        self._result = HostResult(host)
        self._stage = "connecting"
        self._python = self._sent = ""

    def make(self) -> HostResult:
        """Make the visit; whatever goes wrong on the host is in the result."""
        self._attempt(self._work)
        if self._task.remove and self._python:
            self._attempt(self._remove)
        return self._result

    def _attempt(self, action: Callable[[], None]) -> None:
        """Run a part of the visit; the first error becomes the result."""
        try:
            action()
        except EdgeDigitsError as error:
            lost = isinstance(error, HostError | StoppedError) and self._stage not in ("connecting", "checking")
            message = printable(f"during {self._stage}: {error}" if lost else str(error))
            if self._result.status == TROUBLE:
                message = f"{self._result.message}; {message}"
            self._result = replace(self._result, status=TROUBLE, message=message)

    def _work(self) -> None:
        facts = self._probe()
        self._install(facts)
        for step in self._task.steps:
            self._run(step, facts)

    def _remove(self) -> None:
        self._show("removing")
        answer = self._ask({"task": "remove", "folder": FOLDER}, even_if_stopped=True)
        if answer["status"]:
            raise EdgeDigitsError(f"removing: {answer['error']}")

    def _show(self, stage: str, detail: str = "") -> None:
        self._stage = stage
        self._show_all(stage, detail)

    def _probe(self) -> DeviceFacts:
        self._show("connecting")
        lines = list(self._connection.run("sh -s", [probe_script(FOLDER)]))
        facts = read_probe(lines or self._connection.errors.splitlines())
        self._result = replace(self._result, facts=facts)
        self._python = facts.executable
        self._show("checking")
        return facts

    def _install(self, facts: DeviceFacts) -> None:
        """Make sure that the kit is installed; HostError if it does not fit."""
        kit = self._get_kit(facts.target(), facts.python, self._task.runtime)
        self._result = replace(self._result, runtime=kit.runtime, did="already installed")
        if facts.installed == kit.sha256:
            return
        if facts.glibc < kit.glibc:
            needed_glibc = ".".join(map(str, kit.glibc))
            raise HostError(f"it has {facts.libc}, the kit needs {needed_glibc}; upgrade its system")
        needed, free = kit.needed_bytes + _SPARE_BYTES, facts.free_bytes
        if free < needed:
            size = f"the kit has {kit.bytes / 1e6:.0f} MB and needs {needed / 1e6:.0f} MB installed"
            raise HostError(f"{size}, but {free / 1e6:.0f} MB are free in {FOLDER}; free some space there")
        self._show("copying", f"a kit of {kit.bytes / 1e6:.1f} MB")
        request = {"task": "install", "folder": FOLDER, "sha256": kit.sha256, "size": kit.bytes}
        answer = self._ask(request, kit.path)
        if answer["status"]:
            raise EdgeDigitsError(f"installing: {answer['error'].removeprefix('install.sh: ')}")
        self._result = replace(self._result, did=f"installed {kit.bytes / 1e6:.1f} MB")

    def _run(self, step: Step, facts: DeviceFacts) -> None:
        """Run one command and keep its result."""
        self._show(step.name)
        named = ["--runtime", self._task.runtime] if self._task.runtime and step.name != "doctor" else []
        request: dict[str, Any] = {"task": "run", "folder": FOLDER}
        request["arguments"] = [step.name, *named, *step.options, "--json", "-"]
        content: list[bytes | Path] = []
        bundle = self._task.bundle
        if bundle is not None and step.name != "doctor":
            if bundle.content is None:
                request["arguments"].insert(1, bundle.name)
            else:
                digest = hashlib.sha256(bundle.content).hexdigest()
                request |= {"bundle": bundle.name, "sha256": digest}
                if f"{BUNDLE}{digest[:16]}" not in (*facts.bundles, self._sent):
                    self._sent = f"{BUNDLE}{digest[:16]}"
                    request["size"] = len(bundle.content)
                    content.append(bundle.content)
        answer = self._ask(request, *content)
        if answer["status"] not in (0, FAILED):
            error = answer["error"].removeprefix("edgedigits: ") or f"ended with status {answer['status']}"
            raise EdgeDigitsError(f"{step.name}: {error}")
        self._keep(step.name, answer["printed"])
        if answer["status"] == FAILED:
            failed = f"{self._result.message}, {step.name}".removeprefix(", ")
            self._result = replace(self._result, status=FAILED, message=failed)

    def _keep(self, step: str, printed: str) -> None:
        """Write the JSON that a command printed to its file, and load it; EdgeDigitsError if it is not a result."""
        try:
            facts = parse_json(printed)
        except RefusedError as cause:
            raise EdgeDigitsError(f"{step}: what it printed is no result: {cause}") from cause
        path = self._folder / f"{step}.json"
        write_text(path, printed)
        self._result = replace(self._result, files={**(self._result.files or {}), step: path})
        if step == "parity":
            self._result = replace(self._result, parity=load_parity(path))
        elif step == "benchmark":
            report = load_benchmark(path)
            watched = "" if report.rows else watch_summary(report)
            self._result = replace(self._result, benchmark=report, verdict=watched)
        elif isinstance(facts, dict):
            self._result = replace(self._result, verdict=printable(str(facts.get("verdict", ""))))

    def _ask(self, request: dict[str, Any], *content: bytes | Path, even_if_stopped: bool = False) -> dict[str, Any]:
        """Run :mod:`edgedigits.remote.device` there, followed by what it reads, and return its answer."""
        source = (files(__package__) / "device.py").read_text(encoding="utf-8")
        script = f"{source}\nmain(json.loads({json.dumps(request)!r}))\n".encode()
        start = _START.format(python=shlex.quote(self._python))
        head = f"{len(script)}\n".encode() + script
        size, shown = request.get("size", 0), [""]

        def show_sent(count: int) -> None:
            text = f"{(count - len(head)) / size:.0%} of {size / 1e6:.1f} MB" if size else ""
            if text != shown[-1]:
                shown.append(text)
                self._show_all(self._stage, text)

        found: dict[str, Any] = {}
        for answer in self._answers(start, [head, *content], show_sent, even_if_stopped):
            if "progress" in answer:
                self._show_all(self._stage, printable(str(answer["progress"])))
            else:
                found = answer
        if isinstance(found.get("status"), int):
            return {"error": "", "printed": ""} | found
        raise HostError("it ended without an answer; see whether the host is on, then run this again")

    def _answers(
        self, command: str, content: Sequence[bytes | Path], on_sent: Callable[[int], None], even_if_stopped: bool
    ) -> Iterator[dict[str, Any]]:
        for line in self._connection.run(command, content, on_sent, even_if_stopped):
            if line.startswith(MARK):
                try:
                    answer = parse_json(line.removeprefix(MARK))
                except RefusedError as cause:
                    raise HostError(f"it sends something else than expected ({cause})") from cause
                if isinstance(answer, dict):
                    yield answer
