"""Visit all hosts, each in a thread. The main thread makes the kits and shows the progress, so Ctrl-C reaches it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from queue import SimpleQueue

from edgedigits.errors import EdgeDigitsError
from edgedigits.kit.targets import Target
from edgedigits.remote.kits import StoredKit, find_or_make
from edgedigits.remote.ssh import Connection, StoppedError, parse_host, socket_folder
from edgedigits.remote.visit import HostResult, Task, Visit
from edgedigits.runtimes.wheels import Version

_PATIENCE = 10.0  # seconds for the hosts to end their commands after Ctrl-C

#: Takes the number of a host, the stage it is in, and how far it is.
Show = Callable[[int, str, str], None]


def visit_all(
    hosts: Sequence[str],
    task: Task,
    ssh: Sequence[str],
    show: Show,
    on_result: Callable[[int, HostResult], None],
    sequential: bool = False,
) -> list[HostResult]:
    """Do the task on all hosts, at the same time or one after another, and return the results in their order.

    An exception such as Ctrl-C ends what runs on the hosts, and ``on_result`` gets what came of them until then.

    Args:
        ssh: the command and its options.
        on_result: gets the number of each host and its result as it comes.
    """
    work: SimpleQueue[Callable[[], None]] = SimpleQueue()  # for this thread
    kits: list[Future[StoredKit]] = []
    finished: list[int] = []

    def visit(number: int) -> HostResult:
        def get_kit(target: Target, python: Version, runtime: str | None) -> StoredKit:
            kits.append(Future())
            kit = kits[-1]
            work.put(lambda: _fulfil(kit, number, show, target, python, runtime))
            try:
                return kit.result()
            except CancelledError as cause:
                raise StoppedError("stopped") from cause

        def show_later(stage: str, detail: str) -> None:
            work.put(lambda: show(number, stage, detail))

        return Visit(hosts[number], connections[number], task, get_kit, show_later).make()

    def finish(number: int) -> None:
        on_result(number, visits[number].result())
        finished.append(number)

    def ended(number: int, _: object) -> None:
        work.put(partial(finish, number))

    with socket_folder() as folder:
        connections = [Connection(parse_host(host), ssh, Path(folder, str(n))) for n, host in enumerate(hosts)]
        pool = ThreadPoolExecutor(1 if sequential else len(hosts))
        visits = [pool.submit(visit, number) for number in range(len(hosts))]
        for number, future in enumerate(visits):
            future.add_done_callback(partial(ended, number))
        try:
            while len(finished) < len(hosts):
                work.get()()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            try:
                _stop(connections, visits, kits)
            finally:
                for number, future in enumerate(visits):  # what was stopped
                    if number not in finished and future.done() and not (future.cancelled() or future.exception()):
                        on_result(number, future.result())
    return [result.result() for result in visits]


def _fulfil(
    kit: Future[StoredKit], number: int, show: Show, target: Target, python: Version, runtime: str | None
) -> None:
    """Find or make a kit for the thread that waits for it, which raises the error if there is one."""
    try:
        kit.set_result(find_or_make(target, python, runtime, lambda line: show(number, "making a kit", line)))
    except EdgeDigitsError as error:
        kit.set_exception(error)


def _stop(
    connections: Sequence[Connection], visits: Sequence[Future[HostResult]], kits: Sequence[Future[StoredKit]]
) -> None:
    """End what still runs, and close the connections."""
    for connection in connections:
        connection.stop()
    for kit in kits:
        kit.cancel()
    try:
        wait(visits, _PATIENCE)
    finally:
        for connection in connections:
            connection.close()
