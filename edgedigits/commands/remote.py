"""The command `edgedigits remote`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from copy import copy
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgedigits.commands.options import json_option
from edgedigits.errors import InputError, RuntimeUnavailableError
from edgedigits.system.terminal import TROUBLE, emit

if TYPE_CHECKING:
    from edgedigits.remote.visit import HostResult

STEPS = ("parity", "benchmark", "doctor")
OF_REMOTE = {  # options of these commands that make no sense there, or that `remote` sets
    "bundle": "give the bundle with --bundle, before {name}",
    "runtimes": "give --runtime before {name}, since it also chooses the kit",
    "json_file": "give --json or --output before {name}",
    "serial": "run `edgedigits {name} --serial` on the machine with the microcontroller",
    "keys": "verify the bundle here, with `edgedigits verify`",
    "require_signed": "verify the bundle here, with `edgedigits verify`",
    "data": "the data are not copied; without this, --unseen takes the bundle's",
}


class _WithStep(click.Command):
    """A command that ends with another command and its options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = [n for n, word in enumerate(args) if n == 0 or not takes_value(args[n - 1])]
        place = next((n for n in words if n and args[n] in STEPS), None)
        root = ctx.find_root()
        commands = root.command.list_commands(root) if isinstance(root.command, click.Group) else ()
        for word in [args[n] for n in words if args[n] in commands and (place is None or n < place)]:
            runs = f"give a HOST before {word}" if word in STEPS else f"remote runs {', '.join(STEPS)}, not {word}"
            raise click.UsageError(f"{runs}; a host of that name is user@{word}", ctx)
        rest = super().parse_args(ctx, args[:place] if place is not None else args)
        ctx.params["step"] = None if place is None else args[place]
        ctx.params["step_options"] = () if place is None else tuple(args[place + 1 :])
        if place is not None:
            check_step(ctx, args[place], list(args[place + 1 :]))
        return rest


def takes_value(word: str) -> bool:
    """Whether the word is an option of `remote` whose value is the next word."""
    valued = [p for p in remote.params if isinstance(p, click.Option) and not p.is_flag]
    return any(word in option.opts for option in valued)


def check_step(ctx: click.Context, name: str, options: list[str]) -> None:
    """UsageError for an option that the command does not have, or that cannot be used on a device from here.

    Values are checked there: how many threads it allows, say, depends on the device.
    """
    command = getattr(import_module(f"edgedigits.commands.{name}"), name)
    context = click.Context(command, info_name=f"edgedigits remote HOST {name}")
    if {"-h", "--help"} & set(options):
        usable = copy(command)
        usable.params = [parameter for parameter in command.params if parameter.name not in OF_REMOTE]
        click.echo(usable.get_help(context))
        ctx.exit()
    given, _, _ = command.make_parser(context).parse_args(options)
    if given.get("watch") is True and not given.get("sustained_minutes", "0").strip("0."):
        raise click.UsageError("--watch needs --sustained MINUTES here, since Ctrl-C ends what runs there", ctx)
    for key, remedy in OF_REMOTE.items():
        value = given.get(key)
        if isinstance(value, str | list | bool):  # click has a sentinel of its own for what is not given
            parameter = next(p for p in command.params if p.name == key)
            shown = max(parameter.opts, key=len) if isinstance(parameter, click.Option) else repr(value)
            raise click.UsageError(f"{name} takes no {shown} here; {remedy.format(name=name)}", ctx)


@click.command(cls=_WithStep, short_help="Install, prove and benchmark on devices over ssh.")
@click.argument("hosts", metavar="HOST... [COMMAND [ITS OPTIONS]]", nargs=-1, required=True)
@click.option(
    "--bundle", type=click.Path(path_type=Path), metavar="BUNDLE", help="The bundle to run. [default: notebook]"
)
@click.option(
    "--runtime",
    type=click.Choice(["litert", "tflite-runtime", "onnxruntime", "numpy"]),
    metavar="NAME",
    help="Install and run only this runtime. [default: the first with a wheel for the device, and numpy]",
)
@click.option("--quick", is_flag=True, help="Without a command: benchmark with --quick.")
@click.option("--sequential", is_flag=True, help="One host after another, not all at the same time.")
@click.option("--keep/--remove", default=True, help="Keep the installation for the next time, or remove everything.")
@click.option(
    "--ssh",
    "ssh_command",
    metavar="COMMAND",
    help="The ssh command with its options, such as 'ssh -F FILE'. [default: $EDGEDIGITS_SSH, or ssh]",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("build/remote"),
    show_default=True,
    metavar="FOLDER",
    help="Folder for HOST/*.json and report.html.",
)
@json_option
def remote(
    hosts: tuple[str, ...],
    bundle: Path | None,
    runtime: str | None,
    quick: bool,
    sequential: bool,
    keep: bool,
    ssh_command: str | None,
    output: Path,
    json_file: str | None,
    step: str | None,
    step_options: tuple[str, ...],
) -> None:
    """Run parity and the benchmark on each HOST, or COMMAND (parity, benchmark or doctor), and compare the results.

    HOST is what ssh takes, such as pi@raspberrypi.local; your ssh configuration, keys and jump hosts apply, and no
    password is asked for. A device needs Python and an ssh server, but no network, pip or root: the kit that fits it is
    made here and installed in ~/.cache/edgedigits there, which the next run finds.

    The exit status is 2 if a host could not be used, else 1 if a check failed on one. Ctrl-C also ends what runs there.
    """
    from edgedigits.remote.board import Board
    from edgedigits.remote.bundles import bundle_to_send
    from edgedigits.remote.fleet import visit_all
    from edgedigits.remote.ssh import parse_command
    from edgedigits.remote.text import outcome_text
    from edgedigits.remote.visit import FOLDER, HostResult, Step, Task, file_name
    from edgedigits.system.files import locked

    if quick and step is not None:
        raise click.UsageError(f"--quick stands for `benchmark --quick`; give options of {step} behind it")
    folders = [file_name(host) for host in hosts]
    doubled = next((host for host, folder in zip(hosts, folders, strict=True) if folders.count(folder) > 1), None)
    if doubled is not None:
        raise click.UsageError(f"{doubled} is given twice")
    ssh = parse_command(ssh_command if ssh_command is not None else os.environ.get("EDGEDIGITS_SSH") or "ssh")
    steps: tuple[Step, ...] = (Step("parity"), Step("benchmark", ("--quick",) if quick else ()))
    if step is not None:
        steps = (Step(step, step_options),)
    task = Task(steps, output, None if bundle is None else bundle_to_send(bundle), runtime, remove=not keep)
    board = Board(hosts)

    ended = [HostResult(host, TROUBLE, f"stopped{'' if keep else f'; {FOLDER} is left there'}") for host in hosts]

    def show_result(number: int, result: HostResult) -> None:
        ended[number] = result
        board.show(number, "done", outcome_text(result))

    files = [output / folder / f"{step.name}.json" for folder in folders for step in steps]
    try:
        with locked(*files):
            visit_all(hosts, task, ssh, board.show, show_result, sequential)
    except KeyboardInterrupt:
        if not keep or any(result.files for result in ended):
            board.clear()
            _show(ended, output / "report.html", json_file)
        raise
    finally:
        board.clear()
    _show(ended, output / "report.html", json_file)
    raise SystemExit(max(ended, key=lambda result: result.status).status)


def _show(results: Sequence[HostResult], page: Path, json_file: str | None) -> None:
    """Print what came of the hosts, and write the page about it."""
    from edgedigits.remote.text import hosts_text

    earlier = {result.host: file for result in results if (file := _earlier(result))}
    lines = [hosts_text(results), *(f"{host}: {path} is from an earlier run" for host, (_, path) in earlier.items())]
    if _write_report(results, earlier, page):
        lines.append(f"report: {page}")
    emit([result.to_json() for result in results], "\n".join(lines), json_file)


def _earlier(result: HostResult) -> tuple[str, Path] | None:
    """The result of benchmark or parity that only an earlier run made, on the same bundle in the same installation."""
    from edgedigits.report.loading import load_benchmark, load_parity

    ran = result.benchmark or result.parity
    if ran is None or (result.benchmark and result.parity) or result.status == TROUBLE or not result.files:
        return None
    name = "parity" if result.benchmark else "benchmark"
    path = next(iter(result.files.values())).with_name(f"{name}.json")
    with suppress(InputError):
        benchmark, parity = result.benchmark or load_benchmark(path), result.parity or load_parity(path)
        if (benchmark.bundle, benchmark.machine["host"]) == (parity.bundle, parity.host):
            return name, path
    return None


def _write_report(results: Sequence[HostResult], earlier: dict[str, tuple[str, Path]], page: Path) -> bool:
    """Write the page that shows the hosts side by side; False if there is nothing to show."""
    files = [
        (result.host, (result.files or {}) | dict([earlier[result.host]] if result.host in earlier else []))
        for result in results
    ]
    shown = [(host, f.get("benchmark"), f.get("parity")) for host, f in files if {"benchmark", "parity"} & f.keys()]
    if shown:
        from edgedigits.system.files import write_text

        try:
            from edgedigits.report.devices import load_devices
            from edgedigits.report.page import render_devices
        except ModuleNotFoundError as cause:
            install = "`pip install Jinja2`, or on Debian `sudo apt install python3-jinja2`"
            raise RuntimeUnavailableError(f"the report needs Jinja2 ({cause}); {install}") from cause
        remarks = [f"{host}: {path.name} is from an earlier run" for host, (_, path) in earlier.items()]
        remarks += [f"{result.host}: {result.message}" for result in results if result.status == TROUBLE]
        write_text(page, render_devices(load_devices(shown), remarks))
    return bool(shown)
