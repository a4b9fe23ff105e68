from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

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
Put = Callable[..., None]


def put_file(target: Path, text: str, error: BaseException | None = None) -> None:
    with atomic_file(target) as temporary:
        temporary.write_text(text)
        if error is not None:
            raise error


def put_directory(target: Path, text: str, error: BaseException | None = None) -> None:
    with atomic_directory(target) as temporary:
        (temporary / "inner").write_text(text)
        if error is not None:
            raise error


@pytest.fixture(params=[put_file, put_directory])
def put(request: pytest.FixtureRequest) -> Put:
    function: Put = request.param
    return function


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


def test_appears_and_is_replaced(put: Put, tmp_path: Path) -> None:
    target = tmp_path / "new" / "it.zip"
    for text in ("first", "second", "third"):
        put(target, text)
        assert text_of(target) == text
        assert names(target.parent) == ["it.zip"]


def test_a_new_file_is_ordinary(tmp_path: Path) -> None:
    write_text(tmp_path / "it", "é\n")
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "it").read_bytes() == b"\xc3\xa9\n"
    assert (tmp_path / "it").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert sha256(b"abc").startswith("ba7816bf8f01cfea")


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_a_failure_changes_nothing(put: Put, tmp_path: Path, error: BaseException) -> None:
    put(tmp_path / "it", "old")
    for target in (tmp_path / "it", tmp_path / "new" / "folder" / "it"):
        with pytest.raises(type(error)):
            put(target, "new", error)
    assert text_of(tmp_path / "it") == "old"
    assert names(tmp_path) == ["it"]


@pytest.mark.parametrize("late", [False, True], ids=["while writing", "while syncing"])
def test_a_full_disk_is_one_line(put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bool) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fail(descriptor: int) -> None:
        raise full

    put(tmp_path / "it", "old")
    if late:
        monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(EdgeDigitsError, match=r"\Acannot write .*it: No space left on device; .* unchanged.*\Z"):
        put(tmp_path / "it", "new", None if late else full)
    assert text_of(tmp_path / "it") == "old"
    assert names(tmp_path) == ["it"]


def test_where_nothing_can_be_written(put: Put, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder" / "kept").mkdir(parents=True)
    for target in (tmp_path / "file" / "it", *([tmp_path / "folder"] if put is put_file else [])):
        with pytest.raises(EdgeDigitsError, match=r"cannot write .*: .*[nN]ot a"):
            put(target, "text")
    with pytest.raises(EdgeDigitsError, match="cannot write"), locked(tmp_path / "file" / "it"):
        pass
    assert names(tmp_path) == ["file", "folder"]
    assert names(tmp_path / "folder") == ["kept"]


def test_a_link_in_the_way_is_not_followed(put: Put, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".it.unfinished").symlink_to("elsewhere")
    with pytest.raises(EdgeDigitsError, match="cannot write"):
        put(tmp_path / "it", "text")
    assert names(tmp_path) == [".it.unfinished", "elsewhere"]
    assert names(tmp_path / "elsewhere") == []


@pytest.mark.parametrize("kind", ["file", "directory", "lock"])
def test_a_second_writer_is_refused_and_takes_over_from_a_killed_one(kind: str, tmp_path: Path) -> None:
    put = put_directory if kind == "directory" else put_file
    put(tmp_path / "it", "old")
    with start_writer(kind, tmp_path / "it") as first:
        with pytest.raises(EdgeDigitsError, match=BUSY):
            put(tmp_path / "it", "new")
        with pytest.raises(EdgeDigitsError, match=BUSY), locked(tmp_path / "other", tmp_path / "it"):
            pass
        assert names(tmp_path) == [".it.unfinished", "it"]
        first.communicate()
    assert first.returncode == -signal.SIGKILL
    assert text_of(tmp_path / "it") == "old"
    put(tmp_path / "it", "new")
    assert text_of(tmp_path / "it") == "new"
    assert names(tmp_path) == ["it"]


def test_a_lock_is_for_others_and_leaves_nothing(put: Put, tmp_path: Path) -> None:
    for text in ("first", "second"):
        with locked(tmp_path / "it", tmp_path / "other"):
            put(tmp_path / "it", text)
            put(tmp_path / "it", text)
            assert text_of(tmp_path / "it") == text
    with pytest.raises(OSError, match="not about the outputs"), locked(tmp_path / "it"):
        raise OSError("not about the outputs")
    assert names(tmp_path) == ["it"]


def test_many_at_once(put: Put, tmp_path: Path) -> None:
    """Threads that replace one target, and one that reads it: each write is whole or refused, and nothing is left."""
    texts = {str(number) * 100_000 for number in range(4)}
    refused, seen, done = list[str](), set[str](), threading.Event()

    def write(text: str) -> None:
        for _ in range(20):
            try:
                put(tmp_path / "it", text)
            except EdgeDigitsError as error:
                refused.append(str(error))

    def read() -> None:
        while put is put_file and not done.is_set():  # a directory is away for a moment
            seen.add(text_of(tmp_path / "it"))

    put(tmp_path / "it", min(texts))
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
@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ("error", "directory"),
        ("interrupt", "directory"),
        ("kill", "directory"),
        ("interrupt", "files"),
        ("kill", "files"),
    ],
)
def test_cut_short_at_any_step(how: str, kind: str, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most three renames: what is complete is marked, an old directory goes aside, the new one moves in."""
    targets = [tmp_path / "it"] if kind == "directory" else [tmp_path / "it", tmp_path / "other"]

    def put(text: str) -> None:
        if kind == "directory":
            put_directory(tmp_path / "it", text)
            return
        with atomic_files(*targets) as temporaries:
            for temporary in temporaries:
                temporary.write_text(text)

    put("old")
    process = os.fork() if how == "kill" else 0
    if process == 0:
        cut_short_at(step, how, monkeypatch)
        try:
            put("new")
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
    texts = {text_of(target) for target in targets}
    assert texts == {"new"} if step == 3 else texts in ({"old"}, {"new"})
    assert names(tmp_path) == [target.name for target in targets]


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
