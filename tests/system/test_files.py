from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgedigits.errors import EdgeDigitsError
from edgedigits.system.files import atomic_directory, atomic_file, atomic_files, locked, sha256, write_text

# Another process, which stops inside the block until it gets a line, and dies of SIGKILL then.
WRITER = """
import os, signal, sys
from pathlib import Path
from edgedigits.system.files import atomic_directory, atomic_file, locked

with {"file": atomic_file, "directory": atomic_directory, "lock": locked}[sys.argv[1]](Path(sys.argv[2])) as temporary:
    if temporary:
        (temporary / "half" if temporary.is_dir() else temporary).write_text("half")
    print("half", flush=True)
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGKILL)
"""
BUSY = r"another process is writing .*it; wait until it is done, or choose another name"
ATOMIC: dict[str, Callable[[Path], Any]] = {
    "file": atomic_file,
    "lock": atomic_file,
    "directory": atomic_directory,
    "files": lambda target: atomic_files(target, target.with_name("other")),
}


@pytest.fixture(params=["file", "directory"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def put(kind: str, target: Path, text: str, error: BaseException | None = None) -> None:
    with ATOMIC[kind](target) as new:
        for path in new if kind == "files" else (new / "inner" if kind == "directory" else new,):
            path.write_text(text)
        if error is not None:
            raise error


def text_of(target: Path) -> str:
    return (target / "inner" if target.is_dir() else target).read_text()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def start_writer(kind: str, target: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, kind, str(target)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    return process


def test_appears_and_is_replaced(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "new" / "it.zip"
    for text in ("first", "second", "third"):
        put(kind, target, text)
        assert text_of(target) == text
        assert names(target.parent) == ["it.zip"]


def test_a_new_file_is_ordinary(tmp_path: Path) -> None:
    write_text(tmp_path / "it", "é\n")
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "it").read_bytes() == b"\xc3\xa9\n"
    assert (tmp_path / "it").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert sha256(b"abc").startswith("ba7816bf8f01cfea")


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_a_failure_changes_nothing(kind: str, tmp_path: Path, error: BaseException) -> None:
    put(kind, tmp_path / "it", "old")
    for target in (tmp_path / "it", tmp_path / "new" / "folder" / "it"):
        with pytest.raises(type(error)):
            put(kind, target, "new", error)
    assert text_of(tmp_path / "it") == "old"
    assert names(tmp_path) == ["it"]


@pytest.mark.parametrize("late", [False, True], ids=["while writing", "while syncing"])
def test_a_full_disk_is_one_line(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bool) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fail(descriptor: int) -> None:
        raise full

    put(kind, tmp_path / "it", "old")
    if late:
        monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(EdgeDigitsError, match=r"\Acannot write .*it: No space left on device; nothing was changed.*\Z"):
        put(kind, tmp_path / "it", "new", None if late else full)
    assert text_of(tmp_path / "it") == "old"
    assert names(tmp_path) == ["it"]


def test_where_nothing_can_be_written(kind: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder" / "kept").mkdir(parents=True)
    for target in (tmp_path / "file" / "it", *([tmp_path / "folder"] if kind == "file" else [])):
        with pytest.raises(EdgeDigitsError, match=r"cannot write .*: .*[nN]ot a"):
            put(kind, target, "text")
    with pytest.raises(EdgeDigitsError, match="cannot write"), locked(tmp_path / "file" / "it"):
        pass
    assert names(tmp_path) == ["file", "folder"]
    assert names(tmp_path / "folder") == ["kept"]


def test_a_link_in_the_way_is_not_followed(kind: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".it.unfinished").symlink_to("elsewhere")
    with pytest.raises(EdgeDigitsError, match="cannot write"):
        put(kind, tmp_path / "it", "text")
    assert names(tmp_path) == [".it.unfinished", "elsewhere"]
    assert names(tmp_path / "elsewhere") == []


@pytest.mark.parametrize("kind", ["file", "directory", "lock"])
def test_a_second_writer_is_refused_and_takes_over_from_a_killed_one(kind: str, tmp_path: Path) -> None:
    put(kind, tmp_path / "it", "old")
    with start_writer(kind, tmp_path / "it") as first:
        with pytest.raises(EdgeDigitsError, match=BUSY):
            put(kind, tmp_path / "it", "new")
        with pytest.raises(EdgeDigitsError, match=BUSY), locked(tmp_path / "other", tmp_path / "it"):
            pass
        assert names(tmp_path) == [".it.unfinished", "it"]
        first.communicate()
    assert first.returncode == -signal.SIGKILL
    assert text_of(tmp_path / "it") == "old"
    put(kind, tmp_path / "it", "new")
    assert text_of(tmp_path / "it") == "new"
    assert names(tmp_path) == ["it"]


def test_a_lock_is_for_others_and_leaves_nothing(kind: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    for text in ("first", "second"):
        with locked(tmp_path / "link" / "it", tmp_path / "other"):
            put(kind, tmp_path / "it", text)
            put(kind, tmp_path / "link" / "it", text)
            assert text_of(tmp_path / "it") == text
    with pytest.raises(OSError, match="not about the outputs"), locked(tmp_path / "it"):
        raise OSError("not about the outputs")
    assert names(tmp_path) == ["it", "link"]


def test_many_at_once(kind: str, tmp_path: Path) -> None:
    """Threads that replace one target, and one that reads it: each write is whole or refused, and nothing is left."""
    texts = {str(number) * 100_000 for number in range(4)}
    refused, seen, done = list[str](), set[str](), threading.Event()

    def write(text: str) -> None:
        for _ in range(20):
            try:
                put(kind, tmp_path / "it", text)
            except EdgeDigitsError as error:
                refused.append(str(error))

    def read() -> None:
        while kind == "file" and not done.is_set():  # a directory is away for a moment
            seen.add(text_of(tmp_path / "it"))

    put(kind, tmp_path / "it", min(texts))
    reader, writers = threading.Thread(target=read), [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert seen | {text_of(tmp_path / "it")} <= texts
    assert names(tmp_path) == ["it"]
    assert [line for line in refused if "another process is writing" not in line] == []
    assert len(refused) < 80


@pytest.mark.parametrize("step", range(4))
@pytest.mark.parametrize("how", ["error", "interrupt", "kill"])
@pytest.mark.parametrize("what", ["directory", "files"])
def test_cut_short_at_any_step(what: str, how: str, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three renames: what is complete is marked; the old directory moves out, the new one in; or one a file."""
    put(what, tmp_path / "it", "old")
    process = os.fork() if how == "kill" else 0
    if process == 0:
        cut_short_at(step, how, monkeypatch)
        try:
            put(what, tmp_path / "it", "new")
        except (EdgeDigitsError, KeyboardInterrupt):
            assert step < 3
        finally:
            if how == "kill":
                os._exit(0)
        monkeypatch.undo()
    else:
        os.waitpid(process, 0)
        with locked(tmp_path / "it"):  # as the next writer does
            pass
    texts = {text_of(tmp_path / name) for name in names(tmp_path)}
    assert texts == {"new"} if step == 3 else texts in ({"old"}, {"new"}) or (what, how) == ("files", "error")
    assert names(tmp_path) == (["it"] if what == "directory" else ["it", "other"])


def cut_short_at(step: int, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the ``step``-th rename from now fail, or end the process."""
    rename, steps = Path.replace, iter(range(100))

    def replace(self: Path, target: Path) -> Path:
        if next(steps) != step:
            return rename(self, target)
        if how == "kill":
            os._exit(0)
        raise OSError(errno.EIO, "Input/output error") if how == "error" else KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", replace)
