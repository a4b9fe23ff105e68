from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgedigits.errors import EdgeDigitsError
from edgedigits.system.files import claimed, sha256, whole_directory, whole_file, whole_files, write_text

WRITE_HALF_AND_DIE = """
import os, signal, sys
from pathlib import Path
from edgedigits.system.files import whole_directory, whole_file

with {"file": whole_file, "directory": whole_directory}[sys.argv[1]](Path(sys.argv[2])) as temporary:
    (temporary / "half" if temporary.is_dir() else temporary).write_text("half, and longer than what comes next")
    print("half", flush=True)
    sys.stdin.read()  # until it is told to go on
    os.kill(os.getpid(), signal.SIGKILL)
"""


def put_file(target: Path, text: str, error: BaseException | None = None) -> None:
    with whole_file(target) as temporary:
        temporary.write_text(text)
        if error is not None:
            raise error


def put_directory(target: Path, text: str, error: BaseException | None = None) -> None:
    with whole_directory(target) as temporary:
        (temporary / "inner").write_text(text)
        if error is not None:
            raise error


def text_of(target: Path) -> str:
    return (target / "inner" if target.is_dir() else target).read_text()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


Put = Callable[..., None]


@pytest.fixture(params=[put_file, put_directory])
def put(request: pytest.FixtureRequest) -> Put:
    function: Put = request.param
    return function


def test_appears_and_is_replaced(put: Put, tmp_path: Path) -> None:
    target = tmp_path / "it.zip"
    for text in ("first", "second", "third"):
        put(target, text)
        assert text_of(target) == text
        assert names(tmp_path) == ["it.zip"]


def test_missing_folders_are_made(put: Put, tmp_path: Path) -> None:
    put(tmp_path / "a" / "b" / "it", "text")
    assert text_of(tmp_path / "a" / "b" / "it") == "text"


def test_keeps_the_suffix_while_it_is_written(tmp_path: Path) -> None:
    """Some writers choose the format by it."""
    with whole_file(tmp_path / "model.keras") as temporary:
        assert temporary.suffix == ".keras"
        assert temporary.parent == tmp_path
        temporary.write_text("")


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_failure_leaves_the_old_and_nothing_else(put: Put, tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "it"
    put(target, "old")
    with pytest.raises(type(error)):
        put(target, "new", error)
    assert text_of(target) == "old"
    assert names(tmp_path) == ["it"]


def test_failure_leaves_nothing_where_nothing_was(put: Put, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bad"):
        put(tmp_path / "a" / "b" / "it", "new", ValueError("bad"))
    assert names(tmp_path) == []


def test_failure_leaves_a_folder_that_another_has_come_to_use(tmp_path: Path) -> None:
    def fail() -> None:
        (tmp_path / "a" / "other").write_text("another's")
        raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"), whole_file(tmp_path / "a" / "b" / "it"):
        fail()
    assert names(tmp_path / "a") == ["other"]


def test_failed_write_is_told_in_one_line(put: Put, tmp_path: Path) -> None:
    target = tmp_path / "it"
    put(target, "old")
    with pytest.raises(EdgeDigitsError) as caught:
        put(target, "new", OSError(28, "No space left on device"))
    assert str(caught.value).startswith(f"cannot write {target}: No space left on device; ")
    assert str(caught.value).endswith("untouched")
    assert text_of(target) == "old"
    assert names(tmp_path) == ["it"]


def test_a_file_where_a_folder_should_be(put: Put, tmp_path: Path) -> None:
    (tmp_path / "in the way").write_text("")
    with pytest.raises(EdgeDigitsError, match=r"cannot create the folder .*in the way.*; choose another place"):
        put(tmp_path / "in the way" / "it", "text")


def test_a_file_never_replaces_a_folder(tmp_path: Path) -> None:
    (tmp_path / "it").mkdir()
    (tmp_path / "it" / "kept").write_text("")
    with pytest.raises(EdgeDigitsError, match=r"cannot write .*: Is a directory"):
        put_file(tmp_path / "it", "text")
    assert names(tmp_path) == ["it"]
    assert names(tmp_path / "it") == ["kept"]


@pytest.fixture
def writer(put: Put, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has written half of ``it``, waits, and then dies of SIGKILL."""
    put(tmp_path / "it", "old")
    kind = "file" if put is put_file else "directory"
    command = [sys.executable, "-c", WRITE_HALF_AND_DIE, kind, str(tmp_path / "it")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        yield process


def test_killed_while_writing(put: Put, writer: subprocess.Popen[str], tmp_path: Path) -> None:
    """The old one stays whole, and the next to write takes over what was left."""
    writer.communicate()
    assert writer.returncode == -signal.SIGKILL
    assert text_of(tmp_path / "it") == "old"
    assert names(tmp_path) == [".it.unfinished", "it"]
    put(tmp_path / "it", "new")
    assert text_of(tmp_path / "it") == "new"
    assert names(tmp_path) == ["it"]
    assert (tmp_path / "it").is_file() or names(tmp_path / "it") == ["inner"]


def test_two_at_once(put: Put, writer: subprocess.Popen[str], tmp_path: Path) -> None:
    """The second is told, and harms neither the first nor what stands there."""
    with pytest.raises(EdgeDigitsError, match=r"another process is writing .*it; wait until it is done"):
        put(tmp_path / "it", "new")
    assert text_of(tmp_path / "it") == "old"
    half = tmp_path / ".it.unfinished"
    assert (half / "half" if half.is_dir() else half).read_text().startswith("half")
    writer.communicate()


def test_many_at_once(put: Put, tmp_path: Path) -> None:
    """Threads that all replace one target: each is whole or told, at least one is whole, and nothing is left."""
    told: list[str] = []

    def write(number: int) -> None:
        for _ in range(20):
            try:
                put(tmp_path / "it", str(number) * 1000)
            except EdgeDigitsError as error:
                told.append(str(error))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert text_of(tmp_path / "it") in {str(n) * 1000 for n in range(4)}
    assert names(tmp_path) == ["it"]
    assert [line for line in told if "another process is writing" not in line] == []
    assert len(told) < 80


def test_a_link_in_the_way_is_not_followed(put: Put, tmp_path: Path) -> None:
    (tmp_path / ".it.unfinished").symlink_to("elsewhere")
    for _ in range(2):  # to nothing, then to a folder
        with pytest.raises(EdgeDigitsError, match="cannot write"):
            put(tmp_path / "it", "text")
        assert names(tmp_path) in ([".it.unfinished"], [".it.unfinished", "elsewhere"])
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
    assert names(tmp_path / "elsewhere") == []


def test_a_reader_never_sees_part_of_it(tmp_path: Path) -> None:
    """Read over and over while it is replaced: always one whole text or the other."""
    target, texts = tmp_path / "it", ("a" * 100_000, "b" * 100_000)
    put_file(target, texts[0])
    seen: set[str] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add(text_of(target))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(60):
            put_file(target, texts[number % 2])
    finally:
        stop.set()
        reader.join()
    assert seen <= set(texts)
    assert seen


def test_text_is_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "it", "é\n")
    assert (tmp_path / "it").read_bytes() == b"\xc3\xa9\n"


def test_sha256() -> None:
    assert sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_new_files_have_ordinary_permissions(tmp_path: Path) -> None:
    put_file(tmp_path / "it", "text")
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "it").stat().st_mode == (tmp_path / "plain").stat().st_mode


def in_another_thread(put: Put, target: Path) -> str:
    """What another writer is told, which to the locks is like another process."""
    told: list[str] = []

    def write() -> None:
        try:
            put(target, "other")
        except EdgeDigitsError as error:
            told.append(str(error))

    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    return "".join(told)


def test_a_claim_is_told_to_others_and_used_once(put: Put, tmp_path: Path) -> None:
    target = tmp_path / "it.zip"
    with claimed(target, directory=put is put_directory):
        assert in_another_thread(put, target).startswith(f"another process is writing {target};")
        with claimed(target, directory=put is put_directory):  # as a command and what it calls both do
            put(target, "first")
        assert in_another_thread(put, target) == ""
        assert text_of(target) == "other"
        put(target, "second")
    assert text_of(target) == "second"
    assert names(tmp_path) == ["it.zip"]


@pytest.mark.parametrize("error", [None, ValueError("bad"), KeyboardInterrupt()], ids=repr)
def test_an_unused_claim_leaves_nothing(put: Put, tmp_path: Path, error: BaseException | None) -> None:
    put(tmp_path / "it", "old")
    expected = pytest.raises(type(error)) if error else contextlib.nullcontext()
    with expected, claimed(tmp_path / "it", tmp_path / "at", directory=put is put_directory):
        assert names(tmp_path) == [".at.unfinished", ".it.unfinished", "it"]
        if error:
            raise error
    assert text_of(tmp_path / "it") == "old"
    assert names(tmp_path) == ["it"]
    assert in_another_thread(put, tmp_path / "it") == ""


def test_files_that_belong_together_are_replaced_together(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    write_text(one, "old")
    write_text(other, "old")
    with pytest.raises(EdgeDigitsError, match=r"cannot write .*one, .*other: No space left"):  # noqa: PT012, SIM117
        with whole_files(one, other) as (first, second):
            first.write_text("new")
            second.write_text("n")
            raise OSError(errno.ENOSPC, "No space left on device")
    assert [one.read_text(), other.read_text()] == ["old", "old"]
    with whole_files(one, other) as (first, second):
        first.write_text("new")
        second.write_text("new")
        assert [one.read_text(), other.read_text()] == ["old", "old"]
    assert [one.read_text(), other.read_text()] == ["new", "new"]
    assert names(tmp_path) == ["one", "other"]


def test_a_ctrl_c_does_not_tear_them_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.replace

    def interrupted(self: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "replace", rename)
        self.replace(target)
        raise KeyboardInterrupt

    def write() -> None:
        with whole_files(tmp_path / "one", tmp_path / "other") as temporaries:
            for temporary in temporaries:
                temporary.write_text("new")
            monkeypatch.setattr(Path, "replace", interrupted)

    with pytest.raises(KeyboardInterrupt):
        write()
    assert [(tmp_path / name).read_text() for name in names(tmp_path)] == ["new", "new"]


def test_a_disk_that_fails_at_the_last_moment(put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems find out that they are full only when they are told to store what was written."""
    put(tmp_path / "it", "old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EdgeDigitsError, match="No space left"):
        put(tmp_path / "it", "new")
    assert text_of(tmp_path / "it") == "old"
    assert names(tmp_path) == ["it"]


@pytest.mark.parametrize("cut", ["before", "between", "after"])
def test_a_swap_in_three_steps_that_was_cut_short(tmp_path: Path, cut: str) -> None:
    """Where two names cannot be swapped in one step a killed process can leave no output: the next restores it."""
    put_directory(tmp_path / "it", "old")
    new, aside = tmp_path / ".it.unfinished", tmp_path / ".it.unfinished.old"
    new.mkdir()
    (new / "inner").write_text("new")
    if cut != "before":
        (tmp_path / "it").rename(aside)
    if cut == "after":
        new.rename(tmp_path / "it")
    with claimed(tmp_path / "it", directory=True):
        assert text_of(tmp_path / "it") == ("new" if cut == "after" else "old")
    assert names(tmp_path) == ["it"]


def test_a_swap_in_three_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgedigits.system.files._exchange", lambda *paths: False)
    for text in ("first", "second", "third"):
        put_directory(tmp_path / "it", text)
        assert text_of(tmp_path / "it") == text
        assert names(tmp_path) == ["it"]
