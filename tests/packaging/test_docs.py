"""The documentation matches the code: commands parse or run, Python prints what it says, links lead somewhere."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import metadata
from importlib.util import find_spec
from pathlib import Path

import click
import numpy as np
import pytest
from drawing import draw
from PIL import Image
from scrawls import scrawl

from edgedigits import __version__
from edgedigits.bundle.bundle import MODELS
from edgedigits.cli import cli
from edgedigits.runtimes.table import RUNTIMES

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
PAGES += [ROOT / folder / "README.md" for folder in ("benchmarks", "data", "edgedigits/models")]
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMANDS = {name: cli.get_command(click.Context(cli), name) for name in cli.list_commands(click.Context(cli))}
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
# Lines of output that begin so depend on the machine, and so do those that name a runtime that is not installed.
OF_THE_MACHINE = re.compile(r"(AMD|edgedigits \d|machine|system|Python|warning:|rounds like|report.html:) ?")
MISSING = [info.name for info in RUNTIMES.values() if not info.installed]
ELSEWHERE = "kit"  # needs a network; tests/kit runs it


# --- What a page says must exist.


def shell_lines(text: str) -> Iterator[tuple[str, bool]]:
    """Every command line of a page, and whether it is complete; one within a sentence may lack its arguments."""
    for language, block in BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            if language == "sh" or line.startswith("$ "):
                yield line.removeprefix("$ "), True
    for code in re.findall(r"`([^`\n]+)`", BLOCK.sub("", text)):
        yield code.replace("\\|", "|"), False


def problems(text: str) -> list[str]:
    """What a page tells the reader to type although it cannot work."""
    found = []
    for line, complete in shell_lines(text):
        for part in re.split(r"&&|[|;]", line):
            try:
                words = shlex.split(part, comments=True)
            except ValueError:
                continue  # code within a sentence that is no command line
            try:
                if words:
                    check(words, complete)
            except (click.UsageError, AssertionError) as wrong:
                found.append(f"{line}: {wrong}")
    return found


def check(words: list[str], complete: bool) -> None:
    program, *arguments = words
    if program.startswith("--"):
        options = [o for command in (cli, *COMMANDS.values()) for o in options_of(command).values()]
        known = {name for option in options for name in (*option.opts, *option.secondary_opts)}
        unknown = {word.partition("=")[0] for word in words if word.startswith("--")} - {*known, "--help"}
        assert not unknown, f"no command has {unknown}"
    elif Path(program).name == "edgedigits":
        while arguments and arguments[0].startswith("-"):
            assert arguments.pop(0) in {*options_of(cli), "-h", "--help"}, "no such global option"
        if arguments and arguments[0] != "COMMAND":
            check_command(arguments[0], arguments[1:], complete)
    elif program == "make" and arguments:
        assert arguments[0] in TARGETS, "the Makefile has no such target"
    elif Path(program).name == "python" and arguments and arguments[0].endswith(".py"):
        assert (ROOT / arguments[0]).is_file() or not complete, "no such script"
    elif program == "python" and arguments[:1] == ["-m"]:
        assert find_spec(arguments[1]), "no such module"
    elif words[:2] == ["pip", "install"]:
        ours = [word for word in arguments if "edgedigits" in word]
        wheel = f"edgedigits-{__version__}-py3-none-any.whl"
        assert all(wheel in word for word in ours), "edgedigits is not on an index"
        extras = {extra for word in ours for group in re.findall(r"\[(.*)\]", word) for extra in group.split(",")}
        assert extras <= set(metadata("edgedigits").get_all("Provides-Extra") or ()), "no such extra"


def check_command(name: str, arguments: list[str], complete: bool) -> None:
    assert name in COMMANDS, f"there is no command {name}"
    command = COMMANDS[name]
    assert command is not None
    if complete:
        command.make_context(name, arguments)
    elif not {"-h", "--help"} & set(arguments):
        command.make_parser(click.Context(command)).parse_args(arguments)


def options_of(command: click.Command | None) -> dict[str, click.Option]:
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)] if command else []
    return {max(option.opts, key=len): option for option in options}


@pytest.mark.parametrize("page", TEXTS)
def test_what_a_page_says_to_type_exists(page: str) -> None:
    assert problems(TEXTS[page]) == []


@pytest.mark.parametrize(
    "text",
    [
        "`edgedigits parity --no-such`",
        "`edgedigits nothing`",
        "`--no-such`",
        "```sh\nedgedigits parity | edgedigits plot nothing\n```",
        "```console\n$ edgedigits predict --index two\n```",
        "```sh\nmake nothing\n```",
        "```sh\npip install 'edgedigits[litert]'\n```",
    ],
)
def test_a_page_that_names_what_does_not_exist_is_found(text: str) -> None:
    assert len(problems(text)) == 1


def slugs(text: str) -> list[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", text), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", TEXTS[page]):
        path, _, anchor = target.partition("#")
        file = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert file.exists(), target
        assert not anchor or anchor in slugs(file.read_text(encoding="utf-8")), target
    for path in re.findall(r"`((?:benchmarks|data|docs|edgedigits|export|tests)/[\w./-]+)`", TEXTS[page]):
        assert "NAME" in path or (ROOT / path).exists(), path


@pytest.mark.parametrize(
    "page", [page for page in TEXTS if page.startswith("docs/") and not page.endswith("README.md")]
)
def test_a_page_of_docs_is_listed_and_has_a_table_of_contents(page: str) -> None:
    assert f"]({Path(page).name})" in TEXTS["docs/README.md"]
    parts = slugs("\n".join(re.findall(r"^## .+$", BLOCK.sub("", TEXTS[page]), re.MULTILINE)))
    assert [part for part in parts if f"](#{part})" not in TEXTS[page]] == []


def test_the_readme_is_short_and_shows_every_main_command() -> None:
    assert len(TEXTS["README.md"].splitlines()) <= 200
    for name in ("run", "test", "predict", "parity", "benchmark", "report", "doctor", "export"):
        assert re.search(rf"(edgedigits|make) {name}\b", TEXTS["README.md"]), name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_and_its_default_is_in_the_reference(name: str) -> None:
    (section,) = re.findall(rf"^## {name}\n(.*?)(?=^## |\Z)", TEXTS["docs/command-line.md"], re.MULTILINE | re.DOTALL)
    options = options_of(COMMANDS[name])
    cells = {row.split("|")[1]: row.split("|")[2] for row in section.splitlines() if row.startswith("| `")}
    rows = {re.findall(r"--[\w-]+", cell)[0]: default.strip() for cell, default in cells.items()}
    shared = re.findall(r"--[\w-]+", section.partition("\nShared:")[2])
    assert {*rows, *shared} == set(options)
    for option, default in rows.items():
        value = options[option].default
        if isinstance(value, (int, float, str, Path)) and not options[option].is_flag:
            assert default == str(value)


# --- What a page shows must be so.


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, bench_file: Path, parity_file: Path) -> Path:
    """A folder as the pages have it: data, a bundle that was exported, results, and some pictures."""
    path = tmp_path_factory.mktemp("docs")
    (path / "data").symlink_to(ROOT / "data")
    shutil.copytree(MODELS / "notebook", path / "build" / "bundle")
    for name in ("bench.json", "old.json", "new.json"):
        shutil.copy(bench_file, path / name)
    shutil.copy(parity_file, path / "parity.json")
    pictures = path / "pictures"
    pictures.mkdir()
    with np.load(ROOT / "data" / "source.npz") as source:
        digits = source["images"]
    Image.new("L", (200, 200), 255).save(pictures / "blank.png")
    (pictures / "page.png").write_bytes(draw("large page, off-center", digits[3520], 3))
    (pictures / "photo.jpg").write_bytes(draw("photo", digits[2510], 5))
    (pictures / "scribble.png").write_bytes(scrawl("scribble", digits, 1))
    (pictures / "several.png").write_bytes(scrawl("several digits", digits, 2))
    return path


def shown(page: str) -> Iterator[tuple[str, list[str]]]:
    """Each command of a page's console blocks, and the lines that the page shows as its output."""
    for language, block in BLOCK.findall(TEXTS[page]):
        for command in block.split("\n$ ") if language == "console" else ():
            line, *output = command.removeprefix("$ ").splitlines()
            yield line, [text for text in output if text.strip()]


def is_quick(command: str) -> bool:
    name = shlex.split(command)[1]
    return name not in ("benchmark", "export", "plot", "train") and command != "edgedigits parity"


EXAMPLES = [(page, command, output) for page in TEXTS for command, output in shown(page)]
EXAMPLES = [example for example in EXAMPLES if shlex.split(example[1])[1] != ELSEWHERE]
QUICK = [example for example in EXAMPLES if is_quick(example[1]) and "shapes.zip" not in example[1]]


def test_there_are_examples() -> None:
    assert {shlex.split(command)[1] for _, command, _ in EXAMPLES} >= {"doctor", "parity", "train", "export", "plot"}
    assert len(QUICK) >= 15


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program, *arguments = shlex.split(command)
    assert program == "edgedigits"
    line = [sys.executable, "-m", "edgedigits", *arguments]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.run(line, text=True, cwd=folder, env={**os.environ, "COLUMNS": "120"}, **streams)  # type: ignore[call-overload, no-any-return]


def in_words(line: str) -> str:
    """A line of output without what another machine, or another run, may make different."""
    line = re.sub(r"\b[0-9a-f]{16,}\b|\d[\d,.]*(e-?\d+)?", "#", line.replace("NOISY", ""))
    return re.sub(r"#(,? #)+", "#", re.sub(r"[-\s]+", " ", line)).strip()


def assert_shown(output: list[str], done: subprocess.CompletedProcess[str]) -> None:
    """The shown lines must be among the command's output, in order. A shown ``...`` leaves something out."""
    assert done.returncode == (2 if any(line.startswith("edgedigits: ") for line in output) else 0), done.stdout
    assert "Traceback" not in done.stdout
    real = iter(in_words(line) for line in done.stdout.splitlines())
    for line in output:
        if OF_THE_MACHINE.match(line) or any(name in line for name in MISSING):
            continue
        pattern = ".*".join(re.escape(in_words(part)) for part in line.split("..."))
        assert line == "..." or any(re.fullmatch(pattern, each) for each in real), f"{line!r} in:\n{done.stdout}"


@pytest.mark.parametrize(("page", "command", "output"), QUICK)
def test_an_example_shows_what_the_command_prints(page: str, command: str, output: list[str], folder: Path) -> None:
    if command.startswith("edgedigits keygen"):
        for key in (folder / "build").glob("ours.*"):
            key.unlink()
    assert_shown(output, run(command, folder))


PYTHON = [(page, code) for page in TEXTS for language, code in BLOCK.findall(TEXTS[page]) if language == "python"]
TRAINS = re.compile("import keras|edgedigits_export")


def assert_prints(code: str, folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=True)
    assert done.stdout.splitlines() == re.findall(r"print\(.*\)\s+# (.+)", code)


@pytest.mark.parametrize(("page", "code"), [(page, code) for page, code in PYTHON if not TRAINS.search(code)])
def test_python_prints_what_the_page_says(page: str, code: str, folder: Path) -> None:
    assert_prints(code, folder)


@pytest.mark.slow
def test_every_example_that_takes_longer(folder: Path) -> None:
    """The workstation's commands first, since the later ones read what they write."""
    for _, code in PYTHON:
        if TRAINS.search(code):
            assert_prints(code, folder)
    rest = [(command, output) for page, command, output in EXAMPLES if (page, command, output) not in QUICK]
    first, done = ("edgedigits train", "edgedigits export"), dict[str, subprocess.CompletedProcess[str]]()
    for command, output in sorted(rest, key=lambda example: not example[0].startswith(first)):
        done[command] = done.get(command) or run(command, folder)  # two pages show one benchmark
        assert_shown(output, done[command])
