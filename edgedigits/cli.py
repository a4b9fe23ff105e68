"""The command line: find the requested command and import only its module.

Nothing heavier than click is imported before a command runs, so that ``--help`` and ``--version`` start fast.
"""

from __future__ import annotations

import os
import sys

try:
    import signal
    from collections.abc import Sequence
    from importlib import import_module
    from typing import TYPE_CHECKING, Any, NoReturn

    import click

    from edgedigits import __version__
    from edgedigits.system.terminal import INTERRUPTED, run_and_exit
except KeyboardInterrupt:  # these imports are most of what a command does at first
    sys.exit(130)

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

# Each is the command of that name in edgedigits.commands.NAME.
COMMANDS = (
    "benchmark", "compare", "doctor", "inspect", "keygen", "kit", "parity", "predict", "remote", "report", "sign",
    "verify",
)  # fmt: skip


class _Commands(click.Group):
    """The device commands, and those that other packages (the workstation side) register as entry points."""

    def _registered(self) -> dict[str, EntryPoint]:
        from importlib.metadata import entry_points

        return {point.name: point for point in entry_points(group="edgedigits.commands")}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*COMMANDS, *self._registered()})

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands that run here, then those that lack packages."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            assert command is not None
            missing: list[str] = getattr(command.callback, "missing", list)()
            title = f"Commands that cannot run here without {', '.join(missing)}" if missing else "Commands"
            sections.setdefault(title, []).append((name, command.get_short_help_str()))
        for title, rows in sorted(sections.items()):
            with formatter.section(title):
                formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and args[0] not in self._registered():  # reading the entry points takes 10 ms
            from difflib import get_close_matches

            similar = get_close_matches(args[0], self.list_commands(ctx), 1)
            ctx.fail(f"no command is called {args[0]!r}{f'; did you mean {similar[0]}?' if similar else ''}")
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        command: click.Command | None = None
        if name in COMMANDS:
            # By default NumPy's OpenBLAS starts one spinning thread per core: on two cores, a third of the CPU time
            # of the import. No model here is large enough to need them.
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
            command = getattr(import_module(f"edgedigits.commands.{name}"), name)
        elif point := self._registered().get(name):
            command = point.load()
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="edgedigits")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Export a small classifier, prove on each device that it gives the trained model's results, and time it.

    BUNDLE is a directory or .zip file written by `edgedigits export`, or the name of a bundle in the package: notebook
    (the default) or robust (the default of `predict`). The exit status is 0 on success, 1 if a check failed, 2 on
    bad input or a missing runtime and 130 after Ctrl-C.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and end the process with its exit status."""
    try:
        _main(sys.argv[1:] if arguments is None else list(arguments))
    except KeyboardInterrupt:  # before the command runs or after it
        sys.exit(INTERRUPTED)


def _main(given: list[str]) -> NoReturn:
    if hasattr(signal, "SIGCHLD"):  # some supervisors ignore it, which commands inherit
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that temporary files are removed
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # the command was started with it closed
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))

    def run() -> Any:
        if "_EDGEDIGITS_COMPLETE" in os.environ:  # a shell asks for completions
            cli.main(given, prog_name="edgedigits")
        with cli.make_context("edgedigits", given) as context:  # main() would print an empty line after Ctrl-C
            return cli.invoke(context)

    run_and_exit(run, debug="--debug" in given)
