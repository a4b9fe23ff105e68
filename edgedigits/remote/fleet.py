"""Visit all hosts, each in a thread. The main thread makes the kits and shows the progress, so Ctrl-C reaches it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from edgedigits.errors import EdgeDigitsError
from edgedigits.kit.targets import Target
from edgedigits.remote.kits import StoredKit, find_or_make
from edgedigits.remote.ssh import Connection, parse_host, socket_folder
from edgedigits.remote.visit import HostResult, Task, Visit
from edgedigits.runtimes.wheels import Version

_PATIENCE = 10.0  # seconds for the hosts to end their commands after Ctrl-C

#: Takes the number of a host, the stage it is in, and how far it is.
Show = Callable[[int, str, str], None]


def visit_all(
    hosts: Sequence[str], task: Task, ssh: Sequence[str], show: Show, done: Callable[[int, HostResult], None],
    sequential: bool = False,
) -> list[HostResult]:  # fmt: skip
    """Do the task on all hosts, at the same time or one after another, and return the results in their order.

    An exception such as Ctrl-C ends what runs on the hosts.

    Args:
        ssh: the command and its options.
        done: is called with each result as it comes.
    """
    events: SimpleQueue[Callable[[], None]] = SimpleQueue()  # work for this thread
    results: dict[int, HostResult] = {}
    kits: list[Future[StoredKit]] = []

    def visit(number: int) -> None:
        def get_kit(target: Target, python: Version, runtime: str | None) -> StoredKit:
            future: Future[StoredKit] = Future()
            kits.append(future)
            events.put(lambda: _fulfil(future, number, show, target, python, runtime))
            return future.result()

        def show_later(stage: str, detail: str) -> None:
            events.put(lambda: show(number, stage, detail))

        result = Visit(hosts[number], connections[number], task, get_kit, show_later).make()
        events.put(lambda: results.__setitem__(number, result))

    with socket_folder() as folder:
        connections = [Connection(parse_host(host), ssh, Path(folder, str(n))) for n, host in enumerate(hosts)]
        threads = [threading.Thread(target=visit, args=(number,), daemon=True) for number in range(len(hosts))]
        waiting = list(threads)
        try:
            while len(results) < len(hosts):
                while waiting and (not sequential or len(results) == len(threads) - len(waiting)):
                    waiting.pop(0).start()
                before = set(results)
                events.get()()
                for number in results.keys() - before:
                    done(number, results[number])
        finally:
            _stop(connections, [thread for thread in threads if thread not in waiting], kits)
    return [results[number] for number in range(len(hosts))]


def _fulfil(
    future: Future[StoredKit], number: int, show: Show, target: Target, python: Version, runtime: str | None
) -> None:
    """Find or make a kit for the thread that waits for it."""
    try:
        future.set_result(find_or_make(target, python, runtime, lambda line: show(number, "making a kit", line)))
    except EdgeDigitsError as error:  # the thread raises it
        future.set_exception(error)


def _stop(connections: Sequence[Connection], threads: Sequence[threading.Thread], kits: Sequence[Future[Any]]) -> None:
    """End what still runs, and close the connections."""
    for connection in connections:
        connection.stop()
    for kit in kits:
        kit.cancel()
    until = time.monotonic() + _PATIENCE
    try:
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
    finally:
        for connection in connections:
            connection.close()
