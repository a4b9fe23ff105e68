"""Nothing writes a file but through edgedigits.system.files, so that every file appears whole or not at all."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("edgedigits", "export", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
# A name of these, called, can leave a file. `open` counts only with a mode that writes, ZipFile likewise, and `replace`
# only as Path.replace is called: str.replace takes two arguments, dataclasses.replace has keywords.
WRITES = {
    *(
        "write_text",
        "write_bytes",
        "savefig",
        "save",
        "savez",
        "savez_compressed",
        "tofile",
        "memmap",
        "touch",
        "mkdir",
    ),
    *("copy2", "copyfile", "copytree", "move", "rename", "symlink_to", "hardlink_to", "NamedTemporaryFile", "mkstemp"),
    *("mkdtemp", "makedirs", "extract", "extractall", "TemporaryDirectory"),
}
# A call inside one of these writes what is renamed or removed at the block's end.
GUARDS = {"whole_file", "whole_files", "whole_directory", "scratch_folder", "TemporaryDirectory"}
# The others, by file and function, and why they may.
ALLOWED = {
    "edgedigits/system/files.py:*": "it is what all others write through",
    "edgedigits/system/scratch.py:scratch_folder": "makes the folder that is removed at the block's end",
    "edgedigits/system/archive.py:write_zip": "its callers give a temporary",
    "edgedigits/system/endings.py:*": "not a file but a knob of the kernel's",
    "edgedigits/kit/debian.py:_private_state": "below a scratch folder",
    "edgedigits/parity/worker.py:*": "the parent's scratch folder",
    "edgedigits/bundle/signature.py:make_keys": "keys are made only where nothing is, and removed if that fails",
    "edgedigits/benchmark/timing.py:child_window": "the parent's scratch folder",
    "export/edgedigits_export/converting/bundle.py:fill": "the folder that its callers give is a temporary",
    "export/edgedigits_export/converting/bundle.py:_npz": "writes into memory",
    "export/edgedigits_export/training/notebook.py:finish_cut_short": "a whole file is renamed",
    "export/edgedigits_export/commands.py:train": "training.save and figures.save write whole files",
    "export/edgedigits_export/commands.py:plot": "figures.save writes a whole file",
    "benchmarks/drawing.py:*": "a picture is saved into memory",
    "benchmarks/side_by_side.py:run": "a child's answer, in its parent's temporary directory",
    "benchmarks/start.py:*": "environments and pictures in a temporary directory",
    "benchmarks/emulated.py:*": "files that the measured Pis start with, in the cache and in temporary directories",
}


def calls_that_write(tree: ast.Module) -> Iterator[tuple[str, int, str]]:
    """The function around each unguarded call that can leave a file, its line, and the name called."""

    def visit(node: ast.AST, function: str, guarded: bool) -> Iterator[tuple[str, int, str]]:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            function, guarded = node.name, False
        if isinstance(node, ast.Call) and writes(node) and not guarded:
            yield function, node.lineno, called(node)
        if isinstance(node, (ast.With, ast.AsyncWith)):
            opened = {called(item.context_expr) for item in node.items if isinstance(item.context_expr, ast.Call)}
            for item in node.items:
                if not (isinstance(item.context_expr, ast.Call) and called(item.context_expr) in GUARDS):
                    yield from visit(item, function, guarded)
            for inner in node.body:
                yield from visit(inner, function, guarded or bool(opened & GUARDS))
            return
        for child in ast.iter_child_nodes(node):
            yield from visit(child, function, guarded)

    yield from visit(tree, "module", False)


def called(call: ast.Call) -> str:
    target = call.func
    return target.attr if isinstance(target, ast.Attribute) else target.id if isinstance(target, ast.Name) else ""


def writes(call: ast.Call) -> bool:
    name = called(call)
    if name in ("open", "ZipFile", "TarFile"):
        constants = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
        modes = [c.value for c in constants if isinstance(c, ast.Constant) and isinstance(c.value, str)]
        flags = [n.attr for a in call.args for n in ast.walk(a) if isinstance(n, ast.Attribute)]
        return any(set(mode) <= set("rwaxbt+") and set(mode) & set("wax+") for mode in modes) or "O_CREAT" in flags
    if name == "replace":
        return isinstance(call.func, ast.Attribute) and len(call.args) == 1 and not call.keywords
    return name in WRITES and not (name == "write_text" and isinstance(call.func, ast.Name))  # that is ours


def unguarded(text: str) -> list[str]:
    return [f"{function}: {name}" for function, _, name in calls_that_write(ast.parse(text))]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_is_written_whole(path: Path) -> None:
    file = path.relative_to(ROOT).as_posix()
    found = [
        f"{file}:{line}: {name}() in {function}"
        for function, line, name in calls_that_write(ast.parse(path.read_text(encoding="utf-8")))
        if not {f"{file}:*", f"{file}:{function}"} & set(ALLOWED)
    ]
    assert found == []


def test_what_is_allowed_is_needed() -> None:
    found = set()
    for path in SOURCES:
        file = path.relative_to(ROOT).as_posix()
        for function, *_ in calls_that_write(ast.parse(path.read_text(encoding="utf-8"))):
            found |= {f"{file}:*", f"{file}:{function}"}
    assert set(ALLOWED) - found == set()


@pytest.mark.parametrize(
    "text",
    [
        "open(p, 'w')",
        "p.open('ab')",
        "p.open(mode='x')",
        "open(p, 'r+')",
        "os.open(p, os.O_CREAT | os.O_WRONLY)",
        "p.write_text('')",
        "figure.savefig(p)",
        "q.replace(p)",
        "np.save(p, a)",
        "ZipFile(p, 'w')",
        "with tempfile.NamedTemporaryFile() as f: f",
        "with whole_file(p) as t:\n  def f(): p.write_text('')",
    ],
)
def test_what_writes_is_seen(text: str) -> None:
    assert len(unguarded(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "open(p)",
        "write_text(p, '')",
        "p.open('rb')",
        "os.open(p, os.O_RDONLY)",
        "'w'.replace('w', 'a')",
        "replace(facts, name='w')",
        "with whole_file(p) as t:\n  if t:\n    t.write_text('')",
        "with a() as b, scratch_folder() as t:\n  np.save(t / 'x', a)",
    ],
)
def test_what_does_not_write_is_let_be(text: str) -> None:
    assert unguarded(text) == []
