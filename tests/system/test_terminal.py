from __future__ import annotations

import subprocess
import sys

import pytest

COMMAND = """
import signal, sys
import click
from edgedigits.commands.inspect import inspect
from edgedigits.errors import InputError
from edgedigits.cli import main

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
def run(**options):
    {}
inspect.callback = run
main(sys.argv[1:])
"""
ENDS = (
    ("signal.raise_signal(signal.SIGINT)", 130, "edgedigits: interrupted; nothing was left half-written"),
    ("raise InputError('one line\\nor two')", 2, "edgedigits: one line or two"),
    ("open('/nowhere/at/all', 'w')", 2, "edgedigits: [Errno 2] No such file or directory: '/nowhere/at/all'; check "),
    ("raise ValueError('why')", 2, "edgedigits: internal error, ValueError: why; `edgedigits --debug ...` shows the "),
    ("raise SystemExit(1)", 1, ""),
    ("return 1", 1, ""),
    ("raise BrokenPipeError", 2, ""),
)


@pytest.mark.parametrize(("code", "status", "printed"), ENDS)
def test_every_end_is_at_most_one_line(code: str, status: int, printed: str) -> None:
    done = subprocess.run([sys.executable, "-c", COMMAND.format(code), "inspect"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith(printed)
    assert done.stderr.count("\n") == bool(printed)
