from __future__ import annotations

import contextlib
import math
import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from edgedigits.bundle.bundle import Bundle
from edgedigits.system.endings import memory_share, memory_taken
from edgedigits.system.forkserver import _read
from edgedigits.system.isolation import Children, Outcome, run_in_child

Run = Callable[..., Outcome]
Popen: TypeAlias = "subprocess.Popen[bytes]"


@pytest.fixture
def request_for_logits(tmp_path: Path, x: Any) -> dict[str, Any]:
    np.save(tmp_path / "inputs.npy", x[:3])
    return {
        **Bundle().request,
        "artifact": "float32.tflite",
        "runtime": "litert",
        "kernels": "default",
        "batch": 1,
        "inputs": str(tmp_path / "inputs.npy"),
        "out": str(tmp_path / "logits.npy"),
    }


@pytest.fixture(params=["anew", "as a copy"])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[..., Outcome]]:
    """Both ways to have a child: the same comes of them, and a copy costs less."""
    if request.param == "anew":
        yield run_in_child
    else:
        with Children("logits") as children:
            yield children.run


def test_answer(run: Run, request_for_logits: dict[str, Any]) -> None:
    outcome = run("logits", request_for_logits, timeout=60)
    assert (outcome.status, outcome.message, outcome.signal) == ("ok", "", None)
    logits = np.load(request_for_logits["out"])
    np.testing.assert_allclose(logits, Bundle().golden()[:3], rtol=0, atol=1e-4)


def test_our_own_error_is_its_message(run: Run, request_for_logits: dict[str, Any]) -> None:
    outcome = run("logits", {**request_for_logits, "artifact": "int4"}, timeout=60)
    assert outcome.status == "error"
    assert outcome.message.partition(": ")[2].startswith("no artifact 'int4'; choose one of float32.tflite, ")


def test_unexpected_end(run: Run, request_for_logits: dict[str, Any]) -> None:
    del request_for_logits["batch"]
    outcome = run("logits", request_for_logits, timeout=60)
    assert (outcome.status, outcome.message) == (
        "crashed",
        "ended with status 1: KeyError: 'batch'; `edgedigits doctor` says what works here",
    )


@pytest.mark.parametrize(
    ("name", "to_do"),
    [
        ("SIGKILL", "end what else runs, or use a smaller model"),
        ("SIGILL", "`edgedigits doctor` says what works here"),
        ("SIGABRT", "use one that you trust, or another --runtime"),
        ("SIGBUS", "use one that you trust, or another --runtime"),
    ],
)
def test_killed(
    run: Run, request_for_logits: dict[str, Any], kill_next_child: Callable[..., None], name: str, to_do: str
) -> None:
    kill_next_child(signal.Signals[name])
    outcome = run("logits", request_for_logits, timeout=60)
    assert (outcome.status, outcome.signal) == ("crashed", name)
    assert outcome.message.startswith(f"the runtime died of {name}; ")
    assert outcome.message.endswith(to_do)


def test_stopped_for_good(run: Run, request_for_logits: dict[str, Any], kill_next_child: Callable[..., None]) -> None:
    kill_next_child(signal.SIGSTOP)
    started = time.monotonic()
    outcome = run("logits", request_for_logits, timeout=1.0)
    assert outcome.status == "timeout"
    assert 1.0 <= time.monotonic() - started < 5.0


def test_what_it_may_take_of_memory(run: Run, request_for_logits: dict[str, Any]) -> None:
    """Any runtime takes more than 5 MB, and this one answers in 100."""
    outcome = run("logits", request_for_logits, timeout=60, memory_bytes=5_000_000)
    assert outcome.status == "memory"
    assert outcome.message == (
        "took over 5 MB of memory and was ended; allow more with --memory-limit, if you trust the model"
    )
    assert run("logits", request_for_logits, timeout=60, memory_bytes=100_000_000).status == "ok"


def test_memory_is_what_was_touched() -> None:
    """Not what was only reserved, as 64-bit runtimes do."""
    before = memory_taken(os.getpid())
    reserved = mmap.mmap(-1, 1 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    assert before is not None
    assert (memory_taken(os.getpid()) or 0) - before < 20_000_000
    reserved[: 1 << 26] = bytes(1 << 26)
    assert (memory_taken(os.getpid()) or 0) - before > 60_000_000  # the kernel counts in batches
    reserved.close()


def test_shares() -> None:
    whole = memory_share()
    assert whole is not None
    assert whole < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert memory_share(2) == max(256_000_000, whole // 2)
    assert memory_share(10**6) == 256_000_000


def test_as_long_as_it_likes(run: Run, request_for_logits: dict[str, Any]) -> None:
    assert run("logits", request_for_logits, timeout=math.inf).status == "ok"


def test_what_lies_in_the_current_folder_is_not_imported(
    run: Run, request_for_logits: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the asker would not import it: a download folder may hold anything."""
    (tmp_path / "json.py").write_text("raise ImportError('not the real one')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    assert run("logits", request_for_logits, timeout=60).message == ""


def test_too_slow(run: Run, request_for_logits: dict[str, Any]) -> None:
    outcome = run("logits", request_for_logits, timeout=0.01)
    assert outcome.status == "timeout"
    assert outcome.message == "no answer within 0.01 s and ended; allow more with --timeout"
    assert outcome.seconds >= 0.01


class TestCopies:
    def test_one_process_makes_them_all(self, request_for_logits: dict[str, Any]) -> None:
        with Children("logits") as children:
            for artifact in ("float32.tflite", "nonsense", "int8.tflite"):
                children.run("logits", {**request_for_logits, "artifact": artifact}, timeout=60)
                (server,) = children._idle
            assert len(_started_by(os.getpid())) == 1
            with ThreadPoolExecutor(2) as pool:  # two at once need another
                list(pool.map(lambda _: children.run("logits", request_for_logits, timeout=60), range(4)))
            assert len(_started_by(os.getpid())) == 2
        assert server.returncode is not None
        assert _started_by(os.getpid()) == []

    @pytest.mark.parametrize("runtime", ["litert", "tflite-runtime", "onnxruntime", "numpy"])
    def test_none_sees_what_another_imported(self, request_for_logits: dict[str, Any], runtime: str) -> None:
        """tflite-runtime refuses to join LiteRT in a process."""
        asked = {**request_for_logits, "artifact": "float32.onnx" if runtime == "onnxruntime" else "float32.tflite"}
        kernels = "reference" if runtime == "numpy" else "default"
        with Children("logits") as children:
            assert children.run("logits", request_for_logits, timeout=60).status == "ok"
            Path(request_for_logits["out"]).unlink()
            outcome = children.run("logits", {**asked, "runtime": runtime, "kernels": kernels}, timeout=60)
        assert (outcome.status, outcome.message) == ("ok", "")
        np.testing.assert_allclose(np.load(request_for_logits["out"]), Bundle().golden()[:3], rtol=0, atol=1e-4)

    def test_one_that_dies_is_not_the_last(
        self, request_for_logits: dict[str, Any], kill_next_child: Callable[..., None]
    ) -> None:
        with Children("logits") as children:
            kill_next_child(signal.SIGSEGV)
            assert children.run("logits", request_for_logits, timeout=60).signal == "SIGSEGV"
            assert children.run("logits", request_for_logits, timeout=60).status == "ok"

    def test_where_there_is_no_server_it_is_a_process_started_anew(self, request_for_logits: dict[str, Any]) -> None:
        with Children("logits") as children:
            children.run("logits", request_for_logits, timeout=60)
            (server,) = children._idle
            server.kill()
            assert children.run("logits", request_for_logits, timeout=60).status == "ok"
            assert children._idle == []
            assert children.run("logits", request_for_logits, timeout=60).status == "ok"
            assert len(children._idle) == 1

    def test_after_its_end_nothing_is_begun(self, request_for_logits: dict[str, Any]) -> None:
        with Children("logits") as children:
            children.run("logits", request_for_logits, timeout=60)
        Path(request_for_logits["out"]).unlink()
        outcome = children.run("logits", request_for_logits, timeout=60)
        assert (outcome.status, outcome.message) == ("crashed", "interrupted")
        assert not Path(request_for_logits["out"]).exists()

    def test_where_children_are_nobodys(self, request_for_logits: dict[str, Any]) -> None:
        """Some supervisors ignore SIGCHLD, which programs inherit: the system then forgets how a copy ended."""
        code = f"""
from edgedigits.system.isolation import Children
with Children('logits') as children:
    print([children.run('logits', {request_for_logits!r}, 60).status for _ in range(2)], len(children._idle))
"""
        ignore = partial(signal.signal, signal.SIGCHLD, signal.SIG_IGN)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, preexec_fn=ignore)
        assert (done.stdout, done.stderr) == ("['ok', 'ok'] 1\n", "")

    def test_ctrl_c_in_the_thread_that_asks(self, request_for_logits: dict[str, Any], tmp_path: Path) -> None:
        """While it waits for an answer: the copy is ended, and not waited for."""
        os.mkfifo(tmp_path / "pipe")
        with Children("logits") as children:
            threading.Timer(1.0, signal.pthread_kill, (threading.get_ident(), signal.SIGINT)).start()
            with pytest.raises(KeyboardInterrupt):
                children.run("logits", {**request_for_logits, "inputs": str(tmp_path / "pipe")}, timeout=600)
        assert _started_by(os.getpid()) == []

    def test_an_error_leaves_none_behind(self, request_for_logits: dict[str, Any]) -> None:
        with Children("logits") as children:
            children.run("logits", request_for_logits, timeout=60)
            with pytest.raises(TypeError):
                children.run("logits", {"bundle": object()}, timeout=60)
        assert _started_by(os.getpid()) == []

    @pytest.mark.parametrize("early", [True, False], ids=["while NumPy is imported", "while a copy hangs"])
    @pytest.mark.parametrize(
        ("sent", "send"),
        [(signal.SIGKILL, os.kill), (signal.SIGTERM, os.kill), (signal.SIGINT, os.kill), (signal.SIGINT, os.killpg)],
    )
    def test_nothing_outlives_who_asked(
        self, hanging: Callable[[], Popen], early: bool, sent: int, send: Callable[[int, int], None]
    ) -> None:
        """A terminal's Ctrl-C goes to all of them."""
        asker = hanging()
        processes = [_wait_for_child_of(asker.pid)]
        if not early:
            processes.append(_wait_for_child_of(processes[0]))
        send(asker.pid, sent)
        asker.wait(timeout=20)
        _wait_for_the_end_of(*processes)

    def test_no_copy_outlives_its_server(self, hanging: Callable[[], Popen]) -> None:
        """Which the system may kill for want of memory; who asked is told how the task ends in a process of its own."""
        asker = hanging()
        server = _wait_for_child_of(asker.pid)
        copy = _wait_for_child_of(server)
        os.kill(server, signal.SIGKILL)
        _wait_for_the_end_of(copy)
        anew = _wait_for_child_of(asker.pid)
        assert b"edgedigits.system.worker" in Path(f"/proc/{anew}/cmdline").read_bytes()

    def test_one_that_cannot_start_is_not_tried_again(
        self, request_for_logits: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "broken").mkdir()
        count = tmp_path / "count"
        say = f"open({str(count)!r}, 'a').write('.')"
        (tmp_path / "broken" / "numpy.py").write_text(f"{say}\nraise ImportError('no such NumPy')\n")
        monkeypatch.syspath_prepend(tmp_path / "broken")
        with Children("logits") as children:
            for _ in range(3):
                outcome = children.run("logits", request_for_logits, timeout=60)
                assert (outcome.status, "no such NumPy" in outcome.message) == ("crashed", True)
        assert count.read_text() == "...."

    def test_the_end_of_what_was_said(self) -> None:
        said = os.memfd_create("said")
        os.write(said, b"\xff" * 100_000 + b"the end")
        text = _read(said, 20)
        assert text == "\ufffd" * 13 + "the end"


@pytest.fixture
def hanging(request_for_logits: dict[str, Any], tmp_path: Path) -> Iterator[Callable[[], Popen]]:
    """Start a process that waits, as parity does, for a task that hangs: nobody writes to the pipe of its inputs."""
    os.mkfifo(tmp_path / "pipe")
    asked = {**request_for_logits, "inputs": str(tmp_path / "pipe")}
    code = f"""
from concurrent.futures import ThreadPoolExecutor
from edgedigits.system.isolation import Children
with ThreadPoolExecutor(1) as pool, Children('logits') as children:
    pool.submit(children.run, 'logits', {asked!r}, 600).result()
"""
    started: list[Popen] = []

    def start() -> Popen:
        command = [sys.executable, "-c", code]
        started.append(subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True))
        return started[-1]

    yield start
    for asker in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(asker.pid, signal.SIGKILL)
        asker.wait()


def _started_by(pid: int) -> list[int]:
    children: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            children += map(int, path.read_text().split())
    return children


def _wait_for_child_of(pid: int) -> int:
    until = time.monotonic() + 20
    while not (found := _started_by(pid)):
        assert time.monotonic() < until
        time.sleep(0.01)
    return found[0]


def _wait_for_the_end_of(*pids: int) -> None:
    for pid in pids:
        until = time.monotonic() + 20
        while _alive(pid):
            assert time.monotonic() < until, f"process {pid} is still there"
            time.sleep(0.01)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
