"""All that is done on the Pis, once a session and as much at a time as there are cores; the tests wait for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import pytest
from pi_debian import UnavailableError
from pi_kits import CASES, Journey, Refusal, refuse, travel
from pi_visits import Visit, visit
from pis import ASKED, PIS, build_wheel

from edgedigits.errors import EdgeDigitsError
from edgedigits.kit.make import Kit, make_kit

if ASKED not in ("", "required", "all"):
    raise pytest.UsageError(f"EDGEDIGITS_EMULATED is {ASKED!r}; expected 'required', 'all' or nothing")
# The longest first, so that both cores end together. The first two share no system, so neither waits for the other's
# download. What is not named here comes after.
ORDER = ("pi4", "pi2", "pi5-trixie", "pi2-trixie-numpy", "pi3", "pi5")
T = TypeVar("T")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Kit]:
    """The kit of a case, made once, by whoever needs it first."""
    folders, locks = tmp_path_factory.mktemp("kits"), {name: Lock() for name in CASES}
    made: dict[str, Kit] = {}

    def get(name: str) -> Kit:
        case = CASES[name]
        with locks[name]:
            if name not in made:
                try:
                    made[name] = make_kit(case.target, folders / f"{name}.zip", python=case.python)
                except EdgeDigitsError as error:
                    if not any(what in str(error) for what in ("cannot reach", "apt-get could not fetch")):
                        raise
                    raise UnavailableError(str(error)) from error
        return made[name]

    return get


@pytest.fixture(scope="session")
def work(
    request: pytest.FixtureRequest,
    wheel: Path,
    kit: Callable[[str], Kit],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[Any, Future[Any]]]:
    """The visits, and the journeys and refusals of kits, that the selected tests ask for, by their parameter, begun."""
    items = [item for item in request.session.items if not any(mark.args[0] for mark in item.iter_markers("skipif"))]
    specs = [item.callspec.params for item in items if hasattr(item, "callspec")]
    wanted = {value for params in specs for key, value in params.items() if key in ("pi", "case", "stranger")}
    places = tmp_path_factory.mktemp("work")

    def do(name: Any) -> Visit | Journey | Refusal:
        folder = places / (name if isinstance(name, str) else "-on-".join(name))
        folder.mkdir()
        if name in PIS:
            return visit(name, folder, wheel)
        if name in CASES:
            return travel(CASES[name], kit(name), folder)
        made_for, on = name
        return refuse(CASES[on], kit(made_for), folder)

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        yield {name: pool.submit(do, name) for name in sorted(wanted, key=_turn)}
        pool.shutdown(cancel_futures=True)


def _turn(name: Any) -> tuple[int, str]:
    return ORDER.index(name) if name in ORDER else len(ORDER), str(name)


def wait(done: Callable[[], T]) -> T:
    """What that returns; where a Pi cannot be had the test is skipped, or fails if it is required."""
    try:
        return done()
    except UnavailableError as why:
        if ASKED:
            pytest.fail(f"EDGEDIGITS_EMULATED={ASKED}, and {why}", pytrace=False)
        pytest.skip(str(why))


@pytest.fixture
def visited(pi: str, work: dict[Any, Future[Visit]]) -> Visit:
    """The Pi that the test's parameter ``pi`` names, after all commands have run."""
    return wait(work[pi].result)


@pytest.fixture
def journey(case: str, work: dict[Any, Future[Journey]]) -> Journey:
    """What was done with the kit that the test's parameter ``case`` names."""
    return wait(work[case].result)


@pytest.fixture
def refusal(stranger: tuple[str, str], work: dict[Any, Future[Refusal]]) -> Refusal:
    """What came of the kit and the Pi that the test's parameter ``stranger`` names."""
    return wait(work[stranger].result)


@pytest.fixture
def made_kit(made: str, kit: Callable[[str], Kit]) -> Kit:
    """The kit that the test's parameter ``made`` names."""
    return wait(lambda: kit(made))
