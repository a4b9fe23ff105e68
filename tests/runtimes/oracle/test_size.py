"""The README's claim that the numpy runtime is under 200 lines, counted."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

from edgedigits.runtimes.oracle import arithmetic

FOLDER = Path(arithmetic.__file__).parent
NOT_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def code_lines(source: str) -> int:
    """Lines that hold code: neither blank, nor only a comment, nor part of a docstring."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = {line for t in tokens if t.type not in NOT_CODE for line in range(t.start[0], t.end[0] + 1)}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            first = node.body[0]
            lines -= set(range(first.lineno, (first.end_lineno or 0) + 1))
    return len(lines)


def test_what_counts_as_code() -> None:
    assert (
        code_lines('"""Doc.\n\nMore."""\n\n# why\nx = [\n    1,\n]  # so\n\n\ndef f():\n    """Doc."""\n    return x\n')
        == 5
    )


def test_the_arithmetic_and_its_sources_are_under_200_lines() -> None:
    assert len((FOLDER / "arithmetic.py").read_text(encoding="utf-8").splitlines()) < 200


def test_all_that_the_numpy_runtime_is_made_of_is_under_200_lines_of_code() -> None:
    own, todo = set[str](), {"arithmetic"}
    while todo:  # the modules beside it that it imports, and those that they import
        name = todo.pop()
        own.add(name)
        for node in ast.walk(ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            if module and module.startswith("edgedigits.runtimes.oracle."):
                todo |= {module.rpartition(".")[2]} - own
    assert own == {"arithmetic", "reader", "flatbuffer"}
    sources = [(FOLDER / f"{name}.py").read_text(encoding="utf-8") for name in own]
    assert sum(map(code_lines, sources)) < 200
    assert max(len(line) for source in sources for line in source.splitlines()) <= 120
    assert not [t for s in sources for t in tokenize.generate_tokens(io.StringIO(s).readline) if t.string == ";"]
