"""The terminal: results on standard output, progress and errors on standard error, and exit statuses.

0: success. 1: a check failed. 2: bad input or another error. 130: Ctrl-C. Only this module turns errors into statuses.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import click

from edgedigits.errors import EdgeDigitsError

FAILED, TROUBLE, INTERRUPTED = 1, 2, 130
#: If this variable is set, progress is shown as lines also where standard error is no terminal: for another program.
PROGRESS_LINES = "EDGEDIGITS_PROGRESS"


def emit(facts: Any, text: str, json_file: str | None) -> None:
    """Print the text, and write the JSON if a file is given; with ``-`` only the JSON goes to standard output."""
    progress("")
    if json_file is not None:
        from edgedigits.system.files import write_text
        from edgedigits.system.text import to_json

        if json_file == "-":
            text = to_json(facts).rstrip()
        else:
            write_text(Path(json_file), to_json(facts))
    if text:
        click.echo(text)


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Discard what native code prints to standard error, such as LiteRT's note about its delegate."""
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def progress(line: str) -> None:
    """Show a line on standard error in place of the last one, if it is a terminal; an empty one clears it."""
    if PROGRESS_LINES in os.environ:
        if line:
            click.echo(line, err=True)
    elif sys.stderr.isatty():
        click.echo(f"\r\x1b[K{line[:100]}", nl=False, err=True)


def live_line(line: str, to_stderr: bool = False, final: bool = False) -> None:
    """Show a line in place of the last one on a terminal, where a ``final`` one stays; elsewhere print every line."""
    stream = sys.stderr if to_stderr else sys.stdout
    if stream.isatty():
        import shutil

        shown = line[: shutil.get_terminal_size().columns - 1]  # a line that wraps cannot be replaced
        click.echo(f"\r\x1b[K{line if final else shown}", nl=final, err=to_stderr)
    else:
        click.echo(line, err=to_stderr)


@contextlib.contextmanager
def progress_bar(shown: bool = True) -> Iterator[Callable[[float, float], None]]:
    """Give a function of the amounts done and in all, which draws a bar if standard error is a terminal."""
    if shown and PROGRESS_LINES in os.environ:
        lines: set[str] = set()

        def show(done: float, of: float) -> None:
            line = f"{done / of if of else 0:.0%}"
            if line not in lines:
                lines.add(line)
                progress(line)

        yield show
        return
    if not (shown and sys.stderr.isatty()):
        yield lambda done, of: None
        return
    with click.progressbar(length=1000, file=sys.stderr) as bar:
        yield lambda done, of: bar.update(round(1000 * done / of) - bar.pos if of else 0)


def run_and_exit(run: Callable[[], Any], debug: bool) -> NoReturn:
    """Run a command and exit with its status; an error is one line on standard error, with ``debug`` a traceback."""
    status = _status_of(run, debug)
    if sys.getprofile() or sys.gettrace():  # a profiler prints its result at exit
        raise SystemExit(status)
    os._exit(status)  # finalizing an interpreter with NumPy and a runtime takes a tenth of a short command's time


def _status_of(run: Callable[[], Any], debug: bool) -> int:
    try:
        try:
            status = run()
        except (SystemExit, click.exceptions.Exit) as end:
            status = end.code if isinstance(end, SystemExit) else end.exit_code
        sys.stdout.flush()  # may be the first to notice a full disk
        return status if isinstance(status, int) else 0
    except click.ClickException as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # in click since 8.2; before, it printed the help itself
            error.show()
            return TROUBLE
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "edgedigits"
        return _fail(f"{error.format_message().rstrip('.')}; see `{where} --help`")
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted; nothing was left half-written", INTERRUPTED)
    except BrokenPipeError:  # the reader of our output is gone, as with `head`
        return TROUBLE
    except Exception as error:  # no traceback reaches a user who did not ask for it
        if debug:
            raise
        if isinstance(error, EdgeDigitsError):
            return _fail(str(error))
        if isinstance(error, OSError):
            return _fail(f"{error}; check the free space and the permissions there")
        return _fail(f"internal error, {type(error).__name__}: {error}; `edgedigits --debug ...` shows the traceback")


def _fail(message: str, status: int = TROUBLE) -> int:
    """Print an error as one line and return the exit status."""
    progress("")
    with contextlib.suppress(OSError):  # standard error is closed or full
        click.echo(f"edgedigits: {' '.join(message.splitlines())}", err=True)
    return status
