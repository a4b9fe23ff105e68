"""The README cannot drift: its commands run, in its order, and its Python prints what it says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONSOLE: list[str] = re.findall(r"```console\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [line[2:] for block in CONSOLE for line in block.splitlines() if line.startswith("$ ")]
# The workstation's commands make what the later ones read, so they run first, at the README's own settings.
FIRST = ("edgedigits train", "edgedigits export")


def order(command: str) -> tuple[int, int]:
    """The workstation's commands first, else the README's order."""
    first = [i for i, start in enumerate(FIRST) if command.startswith(start)]
    return (first[0] if first else len(FIRST)), COMMANDS.index(command)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the README has it: the project's data, nothing built yet."""
    path = tmp_path_factory.mktemp("readme")
    (path / "data").symlink_to(ROOT / "data")
    return path


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program, *arguments = shlex.split(command)
    assert program == "edgedigits"
    environment = {**os.environ, "COLUMNS": "120"}
    command_line = [sys.executable, "-m", "edgedigits", *arguments]
    return subprocess.run(command_line, capture_output=True, text=True, cwd=folder, env=environment)


def test_there_are_commands_to_run() -> None:
    assert len(COMMANDS) >= 10
    shown = {shlex.split(command)[1] for command in COMMANDS}
    assert shown >= {"predict", "doctor", "parity", "benchmark", "inspect", "train", "export", "plot"}


ORDERED = sorted(set(COMMANDS), key=order)


@pytest.mark.parametrize("command", ORDERED)
def test_a_command_of_the_readme_holds(command: str, folder: Path) -> None:
    done = run(command, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_every_command_stands_in_the_readme() -> None:
    listed = subprocess.run([sys.executable, "-m", "edgedigits", "--help"], capture_output=True, text=True).stdout
    commands = re.findall(r"^  (\w+)  ", listed.partition("Commands:")[2], flags=re.MULTILINE)
    assert len(commands) >= 8
    assert [name for name in commands if f"edgedigits {name}" not in README] == []


def test_the_python_of_the_readme_prints_what_it_says(folder: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    expected = re.findall(r"print\(.*\)\s+# (.+)", block)
    code = block.partition('\nwith Classifier("build/bundle"')[0]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=True)
    assert done.stdout.splitlines() == expected
    assert len(expected) == 4


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)|`((?:benchmarks|data)/[\w./]+)`", README):
        name = target[0] or target[1]
        if "unseen" not in name:
            assert (ROOT / name).exists(), name
