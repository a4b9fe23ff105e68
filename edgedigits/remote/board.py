"""Progress on standard error: one line for each host, redrawn on a terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

import click


class Board:
    """What each host is doing. Where standard error is no terminal, each new stage is printed as a line."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self._hosts, self._width = hosts, max(map(len, hosts))
        self._texts, self._stages = ["waiting"] * len(hosts), [""] * len(hosts)
        self._drawn = False
        self._live = sys.stderr.isatty() and len(hosts) < shutil.get_terminal_size().lines

    def show(self, number: int, stage: str, detail: str = "") -> None:
        """Show the stage that a host is in, and how far it is."""
        new = self._stages[number] != stage
        self._stages[number] = stage
        self._texts[number] = f"{stage}: {detail}" if detail else stage
        if self._live:
            self._draw()
        elif new:
            click.echo(self._line(number), err=True)

    def clear(self) -> None:
        """Remove the lines from the terminal."""
        if self._drawn:
            click.echo(f"\x1b[{len(self._hosts)}A\x1b[J", nl=False, err=True)
            self._drawn = False

    def _draw(self) -> None:
        width = shutil.get_terminal_size().columns - 1
        lines = "".join(f"\x1b[K{self._line(number)[:width]}\n" for number in range(len(self._hosts)))
        click.echo((f"\x1b[{len(self._hosts)}A" if self._drawn else "") + lines, nl=False, err=True)
        self._drawn = True

    def _line(self, number: int) -> str:
        return f"{self._hosts[number].ljust(self._width)}  {self._texts[number]}"
