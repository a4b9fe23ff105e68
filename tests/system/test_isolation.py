from __future__ import annotations

import contextlib
import json
import mmap
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from edgedigits.system.isolation import Outcome, run, run_all
from edgedigits.system.resources import memory_in_use, memory_share

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks and /proc are Linux's")
HELPERS = str(Path(__file__).with_name("helpers"))
Run = Callable[..., Outcome]

IN_A_SINGLE_THREAD = """
import json, sys
from dataclasses import asdict
sys.path.insert(0, {helpers!r})
from edgedigits.system.isolation import may_fork, run
assert may_fork()
print(json.dumps(asdict(run({task!r}, {request!r}, {timeout!r}, {memory_bytes!r}))))
"""


def run_new_python(task: str, request: Any, timeout: float = 60.0, memory_bytes: int | None = None) -> Outcome:
    return run(f"isolation_tasks:{task}", request, timeout, memory_bytes, fork=False)


def run_fork(task: str, request: Any, timeout: float = 60.0, memory_bytes: int | None = None) -> Outcome:
    """The tests' own process has several threads, so another one forks."""
    code = IN_A_SINGLE_THREAD.format(
        helpers=HELPERS, task=f"isolation_tasks:{task}", request=request, timeout=timeout, memory_bytes=memory_bytes
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return Outcome(**json.loads(done.stdout))


@pytest.fixture(params=[run_new_python, run_fork])
def run_task(request: pytest.FixtureRequest) -> Run:
    """Both kinds of children: everything must come out the same."""
    function: Run = request.param
    return function


def test_the_answer(run_task: Run) -> None:
    outcome = run_task("double", {"number": 21})
    assert (outcome.status, outcome.message, outcome.answer["doubled"]) == ("ok", "", 42)
    assert outcome.answer["pid"] != os.getpid()
    assert outcome.seconds > 0


@pytest.mark.parametrize(
    ("task", "status", "message"),
    [
        ("refuse", "error", "wrong; expected right; turn around"),
        ("fail", "crashed", "ended with status 1: KeyError: 'missing'"),
        ("leave", "crashed", "ended with status 1: SystemExit: a runtime calls exit"),
    ],
)
def test_an_exception(run_task: Run, task: str, status: str, message: str) -> None:
    outcome = run_task(task, {})
    assert (outcome.status, outcome.message, outcome.signal) == (status, message, None)


@pytest.mark.parametrize(
    ("name", "to_do"),
    [("SIGSEGV", "another --runtime"), ("SIGKILL", "smaller model"), ("SIGILL", "`edgedigits doctor`")],
)
def test_a_crash(run_task: Run, name: str, to_do: str) -> None:
    outcome = run_task("crash", {"signal": name})
    assert (outcome.status, outcome.signal) == ("crashed", name)
    assert outcome.message.startswith(f"the runtime crashed ({name}): ")
    assert to_do in outcome.message


def test_the_time_limit(run_task: Run, tmp_path: Path) -> None:
    outcome = run_task("hang", {"pid_file": str(tmp_path / "pid")}, timeout=1.0)
    assert outcome.status == "timeout"
    assert outcome.message == "stopped after 1 s without a result; raise the limit with --timeout"


def test_the_memory_limit(run_task: Run) -> None:
    outcome = run_task("allocate", {}, memory_bytes=100_000_000)
    assert outcome.status == "memory"
    assert outcome.message.startswith("stopped for using more than 100 MB of memory; ")


def test_all_outcomes_come_whatever_becomes_of_one() -> None:
    tasks: list[tuple[str, dict[str, Any]]] = [("double", {"number": n}) for n in range(5)]
    tasks[2] = ("crash", {"signal": "SIGABRT"})
    found = dict(run_all([(f"isolation_tasks:{name}", request) for name, request in tasks], 60.0, workers=2))
    assert sorted(found) == [0, 1, 2, 3, 4]
    assert [found[n].status for n in range(5)] == ["ok", "ok", "crashed", "ok", "ok"]
    assert [found[n].answer["doubled"] for n in (0, 1, 3, 4)] == [0, 2, 6, 8]


def test_closing_the_iterator_stops_what_runs(tmp_path: Path) -> None:
    request = {"pid_file": str(tmp_path / "pid")}
    outcomes = run_all(
        [(f"isolation_tasks:{name}", request) for name in ("hang", "wait_for_pid_file")], 600.0, workers=2
    )
    number, _ = next(outcomes)
    assert number == 1
    outcomes.close()
    assert not alive(int((tmp_path / "pid").read_text()))


def test_a_module_in_the_current_folder_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this process would not import it: a download folder may hold anything."""
    (tmp_path / "json.py").write_text("raise ImportError('not the real one')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    assert run_new_python("double", {"number": 1}).status == "ok"


@pytest.mark.parametrize(
    "command", [("predict", "--index", "1015", "--timeout", "60"), ("parity", "--runtime", "numpy")]
)
def test_a_command_whose_parent_ignores_sigchld(command: tuple[str, ...]) -> None:
    """Some supervisors do, and the system then does not keep how a child ended."""
    line = [sys.executable, "-m", "edgedigits", *command]
    ignore = partial(signal.signal, signal.SIGCHLD, signal.SIG_IGN)
    done = subprocess.run(line, capture_output=True, text=True, preexec_fn=ignore)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def start_hanging(tmp_path: Path) -> Iterator[Callable[[bool], tuple[subprocess.Popen[bytes], int]]]:
    """Start a process, in a group of its own, that waits for a task that hangs; gives it and the task's pid."""
    started: list[subprocess.Popen[bytes]] = []

    def start(fork: bool) -> tuple[subprocess.Popen[bytes], int]:
        request = {"pid_file": str(tmp_path / "pid")}
        code = (
            f"import sys; sys.path.insert(0, {HELPERS!r})\nfrom edgedigits.system.isolation import run\n"
            f"run('isolation_tasks:hang', {request!r}, 600, fork={fork})"
        )
        command = [sys.executable, "-c", code]
        started.append(subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True))
        return started[-1], wait_for_pid(tmp_path / "pid")

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize("fork", [True, False], ids=["fork", "new Python"])
@pytest.mark.parametrize(
    ("sent", "send"),
    [(signal.SIGKILL, os.kill), (signal.SIGTERM, os.kill), (signal.SIGINT, os.kill), (signal.SIGINT, os.killpg)],
)
def test_no_child_outlives_its_parent(
    start_hanging: Any, fork: bool, sent: int, send: Callable[[int, int], None]
) -> None:
    """A terminal's Ctrl-C goes to the whole group, a supervisor's signal to the parent only."""
    parent, child = start_hanging(fork)
    send(parent.pid, sent)
    parent.wait(timeout=60)
    wait_for_end(child)


def test_a_guarded_command_returns_where_it_cannot_fork() -> None:
    """As in `edgedigits run`, which goes on after `predict` in a process that has TensorFlow loaded."""
    code = (
        "import threading; from edgedigits.system.isolation import run_guarded\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "print('returned', run_guarded(lambda: 3))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "returned 3\n"


def test_memory_that_was_only_reserved_does_not_count() -> None:
    before = memory_in_use(os.getpid())
    reserved = mmap.mmap(-1, 1 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    assert memory_in_use(os.getpid()) - before < 20_000_000
    reserved[: 1 << 26] = bytes(1 << 26)
    assert memory_in_use(os.getpid()) - before > 60_000_000  # the kernel counts in batches
    reserved.close()


def test_memory_shares() -> None:
    whole = memory_share()
    assert whole is not None
    assert whole < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert memory_share(2) == max(256_000_000, whole // 2)
    assert memory_share(10**6) == 256_000_000


def wait_for_pid(path: Path) -> int:
    until = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < until, "the task did not start"
        time.sleep(0.01)
    return int(path.read_text())


def wait_for_end(pid: int) -> None:
    until = time.monotonic() + 60
    while alive(pid):
        assert time.monotonic() < until, f"process {pid} is still there"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
