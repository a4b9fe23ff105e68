from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from edgedigits.system.scratch import PREFIX, all_in_scratch, scratch_folder

HOLD_ONE = """
import sys
from edgedigits.system.scratch import scratch_folder

with scratch_folder() as folder:
    (folder / "half").mkdir()
    (folder / "half" / "file").write_text("half")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for temporary files of this test's own, also for its children."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_gone_afterwards(place: Path) -> None:
    with scratch_folder() as folder, scratch_folder() as another:
        assert folder != another
        assert folder.parent == another.parent == place
        (folder / "file").write_text("")
    with pytest.raises(KeyboardInterrupt), scratch_folder():
        raise KeyboardInterrupt
    assert list(place.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_nothing_else(place: Path) -> None:
    others = [f"{PREFIX}notes", f"{PREFIX}12345678.txt", "edgedigits-12345678", f"my{PREFIX}12345678"]
    for name in others:
        (place / name).mkdir()
    (place / f"{PREFIX}abcdefgh").symlink_to(place / others[0])
    (place / others[0] / "kept").write_text("")
    with subprocess.Popen([sys.executable, "-c", HOLD_ONE], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None
        left = Path(process.stdout.readline().strip())
        with scratch_folder():
            assert (left / "half" / "file").exists()  # it lives
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert left.exists()
    with scratch_folder():
        assert not left.exists()
    assert sorted(path.name for path in place.iterdir()) == sorted([*others, f"{PREFIX}abcdefgh"])
    assert (place / others[0] / "kept").exists()


def test_all_temporary_files_go_there_and_back(place: Path) -> None:
    ask = [sys.executable, "-c", "import tempfile; print(tempfile.gettempdir())"]
    with all_in_scratch():
        inside = Path(tempfile.gettempdir())
        assert inside.parent == place
        assert Path(tempfile.mkdtemp()).parent == inside
        assert subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip() == str(inside)
    assert tempfile.gettempdir() == str(place) == os.environ["TMPDIR"]
    assert list(place.iterdir()) == []
