"""Options and arguments shared by several commands."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import click

from edgedigits.errors import InputError


def positive(context: click.Context, option: click.Parameter, value: float | None) -> float | None:
    """The number; BadParameter unless it is finite and above 0."""
    if value is not None and not 0.0 < value < math.inf:
        raise click.BadParameter(f"{value:g} is not a number above 0")
    return value


def _to_bytes(context: click.Context, option: click.Parameter, value: float | None) -> int | None:
    megabytes = positive(context, option, value)
    return None if megabytes is None else round(megabytes * 1e6)


def _json_target(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """The file; BadParameter before anything runs if it cannot be written."""
    if value is not None and value != "-":
        path = Path(value)
        if not path.absolute().parent.is_dir():
            raise click.BadParameter(f"{path.parent} is no folder; make it first")
        if path.is_dir() or not os.access(path.absolute().parent, os.W_OK):
            raise click.BadParameter(f"{path} cannot be written; give the name of a file in a folder of yours")
    return value


bundle_argument = click.argument("bundle", required=False, type=click.Path(path_type=Path))
json_option = click.option(
    "--json",
    "json_file",
    metavar="FILE",
    callback=_json_target,
    help="Write the result as JSON to FILE; - writes only JSON to stdout.",
)
artifacts_option = click.option(
    "--artifact", "artifacts", multiple=True, help="Run only this artifact, such as int8.tflite or float32; repeatable."
)
runtimes_option = click.option("--runtime", "runtimes", multiple=True, help="Run only this runtime; repeatable.")
timeout_option = click.option(
    "--timeout",
    default=300.0,
    callback=positive,
    show_default=True,
    metavar="SECONDS",
    help="Abort a process after SECONDS.",
)
memory_option = click.option(
    "--memory-limit",
    "memory_bytes",
    type=float,
    callback=_to_bytes,
    metavar="MB",
    help="Memory limit per process. [default: three quarters of the memory, divided by the parallel processes]",
)
trusted_option = click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="KEY.pub",
    help="Trust this public key; repeatable. [default for --require-signed and verify: every *.pub file in "
    "$EDGEDIGITS_KEYS or ~/.config/edgedigits/trusted]",
)


def signature_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --require-signed and --key; the command gets the trusted keys as ``signed_by``, or None for no check."""

    @click.option(
        "--require-signed", is_flag=True, help="Refuse a bundle without a trusted signature; --key implies it."
    )
    @trusted_option
    @wraps(command)
    def run(require_signed: bool, keys: Sequence[str], **options: Any) -> Any:
        if keys or not require_signed:
            return command(signed_by=keys or None, **options)
        from edgedigits.bundle.signature import trusted_keys

        return command(signed_by=trusted_keys(), **options)

    return run


def row_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that select and limit the rows of ``parity`` and ``benchmark``."""
    for option in (memory_option, timeout_option, signature_options, runtimes_option, artifacts_option):
        command = option(command)
    return command


def output_option(help_text: str, default: str | None = None) -> Callable[[Any], Any]:
    """``-o FILE``."""
    path = click.Path(path_type=Path)
    return click.option("-o", "--output", default=default, show_default=True, type=path, help=help_text)


def refuse_overwriting(inputs: Sequence[Path], *outputs: Path | str | None) -> None:
    """UsageError if an output is one of the inputs."""
    read = {path.resolve() for path in inputs if str(path) != "-"}
    for output in outputs:
        if output is not None and str(output) != "-" and Path(output).resolve() in read:
            raise click.UsageError(f"{output} is an input and would be overwritten; choose another output file")


def prompt_password(text: str, confirm: bool = False) -> str:
    """Ask for a password on the terminal; InputError if there is none."""
    if not sys.stdin.isatty():
        raise InputError(
            f"cannot ask for the {text} without a terminal; run this in one, or set EDGEDIGITS_PASSWORD to sign"
        )
    password: str = click.prompt(text, hide_input=True, confirmation_prompt=confirm, err=True)
    return password
