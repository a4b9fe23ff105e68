"""Everything that runs on the Pis, once per session and in parallel; the tests wait for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any, TypeVar

import pytest
from pi_debian import UnavailableError
from pi_kits import CASES, Installation, install, install_and_use
from pi_visits import Visit, visit
from pis import ASKED, PIS, build_wheel

from edgedigits.errors import EdgeDigitsError
from edgedigits.kit.make import Kit, make_kit

if ASKED not in ("", "required", "all"):
    raise pytest.UsageError(f"EDGEDIGITS_EMULATED is {ASKED!r}; expected 'required', 'all' or nothing")
T = TypeVar("T")


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Kit]:
    """Makes the kit of a case, once."""
    folders, locks = tmp_path_factory.mktemp("kits"), {name: Lock() for name in CASES}
    made: dict[str, Kit] = {}

    def get(name: str) -> Kit:
        case = CASES[name]
        with locks[name]:
            if name not in made:
                try:
                    made[name] = make_kit(case.target, folders / f"{name}.zip", python=case.pi.system.python)
                except EdgeDigitsError as error:
                    if not any(what in str(error) for what in ("cannot reach", "apt-get could not download")):
                        raise
                    raise UnavailableError(str(error)) from error
        return made[name]

    return get


@pytest.fixture(scope="session")
def work(
    request: pytest.FixtureRequest, kit: Callable[[str], Kit], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Any, Future[Any]]]:
    """What the parameters ``pi``, ``case`` and ``stranger`` of the selected tests need, started in their order."""
    items = [item for item in request.session.items if not any(mark.args[0] for mark in item.iter_markers("skipif"))]
    specs = [item.callspec.params for item in items if hasattr(item, "callspec")]
    wanted = [value for params in specs for key, value in params.items() if key in ("pi", "case", "stranger")]
    wheel, places = build_wheel(tmp_path_factory.mktemp("wheel")), tmp_path_factory.mktemp("work")

    def do(name: Any) -> Visit | Installation:
        folder = places / (name if isinstance(name, str) else "-on-".join(name))
        folder.mkdir()
        if name in PIS:
            return visit(name, folder, wheel)
        if name in CASES:
            return install_and_use(CASES[name], kit(name), folder)
        made_for, on = name
        return install(CASES[on], kit(made_for), folder)

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        yield {name: pool.submit(do, name) for name in dict.fromkeys(wanted)}
        pool.shutdown(cancel_futures=True)


def wait(result: Callable[[], T]) -> T:
    """The result; if a Pi cannot be emulated, the test is skipped, or fails if it is required."""
    try:
        return result()
    except UnavailableError as why:
        if ASKED:
            pytest.fail(f"EDGEDIGITS_EMULATED={ASKED}, and {why}", pytrace=False)
        pytest.skip(str(why))


@pytest.fixture
def visited(pi: str, work: dict[Any, Future[Visit]]) -> Visit:
    return wait(work[pi].result)


@pytest.fixture
def installation(case: str, work: dict[Any, Future[Installation]]) -> Installation:
    return wait(work[case].result)


@pytest.fixture
def refusal(stranger: tuple[str, str], work: dict[Any, Future[Installation]]) -> Installation:
    return wait(work[stranger].result)


@pytest.fixture
def made_kit(made: str, kit: Callable[[str], Kit]) -> Kit:
    return wait(lambda: kit(made))
