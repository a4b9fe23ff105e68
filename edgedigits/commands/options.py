"""The options and arguments that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import click

bundle_argument = click.argument("bundle", required=False, type=click.Path(path_type=Path))
json_option = click.option(
    "--json",
    "json_file",
    metavar="FILE",
    help="Write the result as JSON; - is standard output, and nothing else goes there.",
)
artifact_option = click.option("--artifact", help="Such as int8.tflite, or int8.")
runtime_option = click.option("--runtime", help="litert, tflite-runtime, onnxruntime, numpy or tensorflow.")
artifacts_option = click.option("--artifact", "artifacts", multiple=True, help="Only this artifact; may be repeated.")
runtimes_option = click.option("--runtime", "runtimes", multiple=True, help="Only this runtime; may be repeated.")
timeout_option = click.option("--timeout", default=300.0, show_default=True, help="Seconds for one row.")


def _bytes(ctx: click.Context, option: click.Parameter, value: float | None) -> int | None:
    """Megabytes as bytes."""
    return None if value is None else round(value * 1e6)


memory_option = click.option(
    "--memory-limit",
    "memory_bytes",
    type=click.FloatRange(min=0, min_open=True),
    callback=_bytes,
    metavar="MB",
    help="What one process may take. [default: three quarters of the memory, shared out to the processes at once]",
)
trusted_option = click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="KEY.pub",
    help="A public key to trust; may be repeated. [default for --require-signed and verify: each *.pub in the folder "
    "$EDGEDIGITS_KEYS, or ~/.config/edgedigits/trusted]",
)


def signature_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Ask which keys may have signed the bundle; the command gets them as ``signed_by``, or None for any and none."""

    @click.option(
        "--require-signed", is_flag=True, help="Refuse a bundle that no trusted key signed; --key asks it too."
    )
    @trusted_option
    @wraps(command)
    def run(require_signed: bool, keys: Sequence[str], **options: Any) -> Any:
        if keys or not require_signed:
            return command(signed_by=keys or None, **options)
        from edgedigits.bundle.signature import trusted_keys

        return command(signed_by=trusted_keys(), **options)

    return run


def output_option(default: str, what: str) -> Callable[[Any], Any]:
    """``-o FILE``: where the one file goes that a command is run for."""
    at = click.Path(path_type=Path)
    return click.option("-o", "--output", default=Path(default), show_default=True, type=at, help=what)


def guards_foreign(command: Callable[..., int]) -> Callable[..., int]:
    """Have a command run in a copy of its process where ``bundle`` is none of the package's, or a limit is asked for.

    A runtime that dies of somebody else's model is one line then. The package's own are worth no copy.
    """

    @wraps(command)
    def run(timeout: float | None, memory_bytes: int | None, **options: Any) -> int:
        bundle: Path | None = options["bundle"]
        packaged = bundle is None or (str(bundle) in ("notebook", "robust") and not bundle.exists())
        if packaged and timeout is None and memory_bytes is None:
            return command(**options)
        import sys

        from edgedigits.system.isolation import run_guarded
        from edgedigits.system.terminal import run_and_exit

        return run_guarded(
            lambda: run_and_exit(lambda *_, **__: command(**options), sys.argv[1:]), timeout, memory_bytes
        )

    return run
