"""The command line: finds the command that is asked for, and only imports that one.

Nothing heavier than click is imported before a command runs, so that ``--help`` and ``--version`` answer at once.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

import click

from edgedigits import __version__
from edgedigits.system.terminal import run_and_exit

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

# Each is the command of that name in edgedigits.commands.NAME.
COMMANDS = (
    "benchmark", "compare", "doctor", "inspect", "keygen", "kit", "parity", "predict", "report", "sign", "verify",
)  # fmt: skip
ENTRY_POINTS = "edgedigits.commands"


class _Commands(click.Group):
    """The device's commands, and those that other packages (the workstation side) add through entry points."""

    def _added(self) -> dict[str, EntryPoint]:
        from importlib.metadata import entry_points

        return {point.name: point for point in entry_points(group=ENTRY_POINTS)}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*COMMANDS, *self._added()})

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in COMMANDS:
            # NumPy's OpenBLAS would start a thread a core, which spin before they sleep: a third of the import's
            # CPU time on two cores, and no model here is large enough for them.
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
            own: click.Command = getattr(import_module(f"edgedigits.commands.{name}"), name)
            return own
        point = self._added().get(name)
        if point is None:
            return None
        command: click.Command = point.load()
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="edgedigits")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Export a small digit classifier, prove on each device that it answers as it did in training, and time it.

    BUNDLE is a directory or .zip made by `edgedigits export`, or the name of one inside the package: notebook, which is
    used where none is given, or robust, which `predict` uses. The exit status is 0 if what was asked for holds, 1 if a
    check failed, 2 for trouble.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and end the process with its exit status."""
    if hasattr(signal, "SIGCHLD"):  # some supervisors ignore it, which commands inherit
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    run_and_exit(cli, sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    main()
