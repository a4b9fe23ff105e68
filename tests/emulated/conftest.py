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
from pi_kits import CASES, Journey, Offline, travel, unpack
from pi_visits import Visit, visit
from pis import PIS, build_wheel

from edgedigits.errors import EdgeDigitsError
from edgedigits.kit.make import Kit, make_kit

REQUIRED = os.environ.get("EDGEDIGITS_EMULATED") == "required"
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
                    if "cannot reach" not in str(error):
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
) -> Iterator[dict[str, Future[Any]]]:
    """The visits and the journeys of kits that the selected tests ask for, by name, all begun."""
    specs = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    wanted = {str(value) for params in specs for key, value in params.items() if key in ("pi", "case")}
    order = sorted(wanted & {*PIS, *CASES}, key=lambda name: (*ORDER, name).index(name))
    folders = {name: tmp_path_factory.mktemp(name) for name in order}
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        yield {
            name: pool.submit(visit, name, folders[name], wheel)
            if name in PIS
            else pool.submit(lambda name: travel(CASES[name], kit(name), folders[name]), name)
            for name in order
        }
        pool.shutdown(cancel_futures=True)


def wait(done: Callable[[], T]) -> T:
    """What that returns; where a Pi cannot be had the test is skipped, or fails if it is required."""
    try:
        return done()
    except UnavailableError as why:
        if REQUIRED:
            pytest.fail(f"EDGEDIGITS_EMULATED=required, and {why}", pytrace=False)
        pytest.skip(str(why))


@pytest.fixture
def visited(pi: str, work: dict[str, Future[Visit]]) -> Visit:
    """The Pi that the test's parameter ``pi`` names, after all commands have run."""
    return wait(work[pi].result)


@pytest.fixture
def journey(case: str, work: dict[str, Future[Journey]]) -> Journey:
    """What was done with the kit that the test's parameter ``case`` names."""
    return wait(work[case].result)


@pytest.fixture
def unpacked(kit: Callable[[str], Kit], tmp_path: Path) -> Callable[[str, str], Offline]:
    """The kit of one case on the Pi of another, in the test's own folder."""
    return lambda made_for, on: wait(lambda: unpack(CASES[on], kit(made_for), tmp_path))


@pytest.fixture
def made_kit(made: str, kit: Callable[[str], Kit]) -> Kit:
    """The kit that the test's parameter ``made`` names."""
    return wait(lambda: kit(made))
