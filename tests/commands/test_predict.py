"""`predict` on folders, patterns and standard input, with bad files among them, and all it can write."""

from __future__ import annotations

import csv
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from PIL import Image

from edgedigits.runtimes.tensors import AnyArray

Run = Callable[..., subprocess.CompletedProcess[str]]
DIGITS = {"a.png": 12, "b.jpg": 30, "c.BMP": 70}  # a 1, a 3 and a 7 that no training saw


@pytest.fixture
def folder(tmp_path: Path, unseen: AnyArray) -> Path:
    """Three pictures, two files that are none, and a subfolder."""
    path = tmp_path / "pictures"
    (path / "more").mkdir(parents=True)
    for name, number in DIGITS.items():
        Image.fromarray(255 - unseen[number]).resize((140, 140), Image.Resampling.BICUBIC).save(path / name)
    Image.fromarray(unseen[0]).save(path / "more" / "d.png")
    (path / "notes.txt").write_text("no picture")
    return path


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """A picture of a grid: strokes, but no digit."""
    gray = np.full((200, 200), 255, dtype=np.uint8)
    for at in (40, 80, 120, 160):
        gray[at : at + 8, 30:170] = gray[30:170, at : at + 8] = 0
    Image.fromarray(gray).save(tmp_path / "grid.png")
    return tmp_path / "grid.png"


def piped(content: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "edgedigits", "predict", *arguments]
    return subprocess.run(command, input=content, capture_output=True)


class TestSources:
    def test_a_folder_is_its_pictures_by_name(self, edgedigits: Run, folder: Path) -> None:
        done = edgedigits("predict", folder, "--json", "-")
        assert done.returncode == 0
        rows = json.loads(done.stdout)
        assert [row["source"] for row in rows] == [str(folder / name) for name in DIGITS]
        assert [row["digit"] for row in rows] == [1, 3, 7]
        assert {row["status"] for row in rows} <= {"sure", "unsure"}

    def test_a_pattern(self, edgedigits: Run, folder: Path) -> None:
        done = edgedigits("predict", folder / "[a-b].*", "--json", "-")
        assert [row["digit"] for row in json.loads(done.stdout)] == [1, 3]
        (folder / "[x].png").write_bytes((folder / "a.png").read_bytes())
        done = edgedigits("predict", folder / "[x].png", "--json", "-")  # a file of that very name comes first
        assert [row["source"] for row in json.loads(done.stdout)] == [str(folder / "[x].png")]

    def test_standard_input(self, folder: Path) -> None:
        done = piped((folder / "b.jpg").read_bytes(), "-")
        assert done.returncode == 0
        assert done.stdout.replace(b"unsure: ", b"").startswith(b"standard input: 3 ")

    @pytest.mark.parametrize(
        ("content", "arguments", "said"),
        [
            (
                b"",
                ["-"],
                b"edgedigits: standard input: nothing came; pipe one picture into the command, and name - once\n",
            ),
            (
                b"text",
                ["-"],
                b"edgedigits: standard input: not a picture that can be read; expected PNG, JPEG or BMP\n",
            ),
        ],
    )
    def test_standard_input_without_a_picture(self, content: bytes, arguments: list[str], said: bytes) -> None:
        done = piped(content, *arguments)
        assert (done.returncode, done.stdout, done.stderr) == (2, b"", said)

    @pytest.mark.skipif(sys.platform == "win32", reason="descriptors are closed otherwise there")
    def test_standard_input_that_cannot_be_read(self, tmp_path: Path) -> None:
        command = f"{sys.executable} -m edgedigits predict -"
        for redirection, said in (("<&-", "not open"), (f"0>{tmp_path}/file", "cannot be read")):
            done = subprocess.run(["sh", "-c", f"{command} {redirection}"], capture_output=True, text=True)
            assert (done.returncode, done.stdout) == (2, "")
            assert done.stderr.startswith(f"edgedigits: standard input: {said}")
            assert done.stderr.count("\n") == 1

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("more/none", "more/none: no such file; give the path of a picture"),
            ("*.gif", "*.gif: no file matches; give the path of a picture, a folder or another pattern"),
            ("empty", "empty: no pictures in this folder; expected files such as .png or .jpg, not in subfolders"),
        ],
    )
    def test_nothing_there(self, edgedigits: Run, folder: Path, name: str, said: str) -> None:
        (folder / "empty").mkdir()
        done = edgedigits("predict", folder / name)
        assert (done.returncode, done.stdout, done.stderr) == (2, "", f"edgedigits: {folder}/{said}\n")


class TestOneBadAmongMany:
    def test_the_others_are_read(self, edgedigits: Run, folder: Path) -> None:
        (folder / "b.jpg").write_bytes((folder / "b.jpg").read_bytes()[:200])
        done = edgedigits("predict", folder, folder / "none.png", "--json", "-", "--csv", folder / "found.csv")
        assert done.returncode == 2
        rows = json.loads(done.stdout)
        assert [row["status"] == "unread" for row in rows] == [False, True, False, True]
        assert [row["digit"] for row in rows] == [1, None, 7, None]
        assert rows[3]["error"] == f"{folder}/none.png: no such file; give the path of a picture"
        first, second = done.stderr.splitlines()
        assert first.startswith(f"edgedigits: {folder}/b.jpg: cannot be read as a picture")
        assert second == f"edgedigits: {rows[3]['error']}"
        with (folder / "found.csv").open(newline="") as stream:
            table = list(csv.DictReader(stream))
        assert [(row["status"], row["digit"]) for row in table][1:3] == [("unread", ""), (rows[2]["status"], "7")]

    def test_all_bad(self, edgedigits: Run, folder: Path) -> None:
        done = edgedigits("predict", folder / "none.png", folder / "notes.txt", "--json", "-")
        assert done.returncode == 2
        assert [row["status"] for row in json.loads(done.stdout)] == ["unread", "unread"]


class TestOutput:
    def test_unsure(self, edgedigits: Run, grid: Path) -> None:
        done = edgedigits("predict", grid, "--json", grid.with_suffix(".json"))
        assert done.returncode == 0
        assert done.stdout.startswith(f"{grid}: unsure: ")
        assert done.stdout.count(" or ") >= 2
        assert "more loops than a digit has" in done.stdout
        (row,) = json.loads(grid.with_suffix(".json").read_text())
        assert row["status"] == "unsure"
        assert "more loops than a digit has" in row["doubts"]
        assert row["digit"] == max(range(10), key=row["probabilities"].__getitem__)

    def test_strict(self, edgedigits: Run, grid: Path) -> None:
        assert edgedigits("predict", grid, "--strict").returncode == 1
        assert edgedigits("predict", "--index", "0", "--strict").returncode == 0

    def test_csv(self, edgedigits: Run, folder: Path, grid: Path) -> None:
        done = edgedigits("predict", folder / "a.png", grid, "--index", "1015", "--csv", "-")
        table = list(csv.DictReader(done.stdout.splitlines()))
        assert [row["source"] for row in table] == [str(folder / "a.png"), str(grid), "X[1015]"]
        for row in table:
            shares = [float(row[f"p{digit}"]) for digit in range(10)]
            assert sum(shares) == pytest.approx(1, abs=1e-5)
            assert float(row["probability"]) == max(shares) == shares[int(row["digit"])]
        assert "more loops than a digit has" in table[1]["doubts"]

    def test_both_to_standard_output(self, edgedigits: Run, folder: Path) -> None:
        done = edgedigits("predict", folder, "--csv", "-", "--json", "-")
        assert done.returncode == 2
        assert "would both go to standard output" in done.stderr

    @pytest.mark.parametrize("count", [1, 4])
    def test_explain(self, edgedigits: Run, folder: Path, count: int) -> None:
        arguments = [folder / "a.png"] if count == 1 else [folder, "--index", "1015"]
        done = edgedigits("predict", *arguments, "--explain", folder / "steps.png")
        assert done.returncode == 0
        with Image.open(folder / "steps.png") as page:
            size, gray = page.size, np.asarray(page.convert("L"))
        assert size[0] > 1000
        assert 250 * count < size[1] < 400 * count
        assert len(np.unique(gray)) > 50  # drawings and letters

    @pytest.mark.parametrize(("name", "said"), [("steps.txt", "not a picture's name"), ("no/way.png", "cannot write")])
    def test_explain_where_nothing_can_be_drawn(self, edgedigits: Run, folder: Path, name: str, said: str) -> None:
        (folder / "no").write_text("a file")
        done = edgedigits("predict", folder / "a.png", "--explain", folder / name)
        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr

    @pytest.mark.skipif(sys.platform == "win32", reason="there are no such terminals")
    def test_a_bar_where_somebody_watches(self, folder: Path) -> None:
        """A terminal of our own, and enough pictures for more than a second."""
        shown, end = pty.openpty()
        many = [str(folder / "b.jpg")] * 1500
        command = [sys.executable, "-m", "edgedigits", "predict", *many, "--csv", str(folder / "found.csv")]
        running = subprocess.Popen(command, stderr=end, stdout=subprocess.DEVNULL)
        os.close(end)
        seen = b""
        while True:
            try:
                chunk = os.read(shown, 4096)
            except OSError:  # the other end is closed
                break
            if not chunk:
                break
            seen += chunk
        assert running.wait() == 0
        os.close(shown)
        assert b"[###" in seen
        assert seen.rstrip().endswith(b"\x1b[K")


def test_a_plain_picture_imports_no_more_than_it_needs(folder: Path) -> None:
    """Of Pillow one format, and nothing of folders, tables and drawings."""
    command = [sys.executable, "-X", "importtime", "-m", "edgedigits", "predict", str(folder / "a.png")]
    done = subprocess.run(command, capture_output=True, text=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert done.returncode == 0
    assert "PIL.PngImagePlugin" in imported
    late = {"edgedigits.pictures.explain", "edgedigits.pictures.inputs", "PIL.ImageDraw", "PIL.ImageFont"}
    others = {"PIL.JpegImagePlugin", "PIL.GifImagePlugin", "PIL.ImageOps", "csv", "glob", "zipfile", "shutil"}
    # An older Pillow loads the common formats and what they need at once; so does an older Python in places.
    older = int(PIL.__version__.partition(".")[0]) < 13 or sys.version_info < (3, 11)
    assert not imported & (late if older else late | others)


def test_names_that_no_terminal_shows(edgedigits: Run, folder: Path, tmp_path: Path) -> None:
    """Bytes that are no UTF-8 in a file's name."""
    name: Any = os.fsencode(tmp_path) + b"/caf\xe9.png"
    try:
        Path(os.fsdecode(name)).write_bytes((folder / "a.png").read_bytes())
    except OSError:
        pytest.skip("this file system takes no such name")
    done = subprocess.run([sys.executable, "-m", "edgedigits", "predict", name, "--csv", "-"], capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"caf" in done.stdout
