"""The terminal: results on standard output, progress and errors on standard error, and exit statuses.

0: it holds. 1: a check failed. 2: trouble, such as bad input or a missing runtime. The only place where an exception
becomes an exit status.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from edgedigits.errors import EdgeDigitsError

FAILED, TROUBLE, INTERRUPTED = 1, 2, 130


def emit(facts: Any, text: str, json_file: str | None) -> None:
    """Print the text, and write the JSON where asked; with ``-`` only the JSON goes to standard output."""
    end_progress()
    if json_file is not None:
        from edgedigits.system.files import write_text
        from edgedigits.system.text import to_json

        if json_file == "-":
            click.echo(to_json(facts), nl=False)
            return
        write_text(Path(json_file), to_json(facts))
    click.echo(text)


@contextlib.contextmanager
def without_chatter() -> Iterator[None]:
    """Keep what native code prints while a runtime starts (LiteRT tells of its delegate) off standard error."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def progress(line: str) -> None:
    """One line to standard error, rewritten in place, and only where somebody is watching."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{line[:100]}", nl=False, err=True)


def progress_bar(done: float, of: float) -> None:
    """A bar and the time left, from seconds done and seconds in all."""
    filled = round(30 * done / of) if of else 30
    progress(f"[{'#' * filled}{'.' * (30 - filled)}] {max(0, round(of - done))} s left" if done < of else "")


def end_progress() -> None:
    """Take the progress line away before anything else is printed."""
    progress("")


def run_and_exit(run: Callable[..., Any], arguments: Sequence[str]) -> NoReturn:
    """Run a click command and end the process with its exit status; an error is one line on standard error.

    The process ends at once, as mypy's does: to take an interpreter with NumPy and a runtime apart, piece by piece, is
    a tenth of a short command's work, and the system frees all of it anyway. Only a profiler is let finish.
    """
    status = _status(run, arguments)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # nobody reads it, or there is no room for it: told already, where it could be
        status = status or TROUBLE
    if sys.getprofile() or sys.gettrace():
        raise SystemExit(status)
    os._exit(status)


def _status(run: Callable[..., Any], arguments: Sequence[str]) -> int:
    """The exit status of a command that is run to its end."""
    given = list(arguments)
    debug = "--debug" in given
    try:
        status = run(given, prog_name="edgedigits", standalone_mode=False)
    except SystemExit as end:
        status = end.code
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return TROUBLE
    except (click.Abort, KeyboardInterrupt):
        return _failed("interrupted; nothing was left half-written", INTERRUPTED)
    except EdgeDigitsError as error:
        if debug:
            raise
        return _failed(str(error), TROUBLE)
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return TROUBLE
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return _failed(
                f"the output has no room where it goes ({error.strerror}); make some, or send it elsewhere", TROUBLE
            )
        if debug:
            raise
        return _failed(
            f"internal error, {type(error).__name__}: {error}; `edgedigits --debug ...` shows where", TROUBLE
        )
    return status if isinstance(status, int) else 0


def _failed(message: str, status: int) -> int:
    end_progress()
    click.echo(f"edgedigits: {' '.join(message.splitlines())}", err=True)
    return status
