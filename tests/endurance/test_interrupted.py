"""`train` and `export`, interrupted at random moments: what stood there is whole, or what took its place is."""

from __future__ import annotations

import json
import random
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgedigits.bundle.bundle import Bundle
from edgedigits.classifier import Classifier
from edgedigits_export.training.notebook import history_of

interrupting = pytest.importorskip("interrupting", reason="it sets another process's limits, as only Linux can")

SEED = 20240229
# How often, of `train` and of `export`.
TIMES = {"kill": (80, 20), "interrupt": (16, 4), "full": (16, 4)}
STATUS = {"kill": -9, "interrupt": 130, "full": 2}
INTERRUPTED = "edgedigits: interrupted; nothing was left half-written"
LONGEST_WAIT = 0.03  # seconds after an event of the writing; the next event is mostly closer
DATA = Path(__file__).parents[2] / "data"
FOLDERS = {"train": "trained", "export": "exported"}
IGNORED = 0.5  # seconds that a command may go on after a Ctrl-C and end as if there had been none


@dataclass(frozen=True)
class Kind:
    """One of the two commands: its arguments for the n-th run, its outputs, and how the folder is judged after one."""

    arguments: Callable[[int], list[str]]
    outputs: tuple[str, ...]
    judge: Callable[[Path], int]  # the run that wrote what stands there
    eager: bool

    @property
    def temporaries(self) -> tuple[str, ...]:
        """What a killed run may leave."""
        return tuple(f".{Path(name).stem}.unfinished{Path(name).suffix}" for name in self.outputs)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("interrupted")


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Any]:
    with interrupting.Server(place) as server:
        yield server


@pytest.fixture(scope="module")
def kinds(place: Path) -> dict[str, Kind]:
    """Both commands on few digits, so that most of the time is not spent on arithmetic."""
    x, y = (np.load(DATA / name) for name in ("X.npy", "y.npy"))
    for name, every in (("few", 50), ("fewest", 1000)):
        (place / name).mkdir()
        np.save(place / name / "X.npy", x[::every])
        np.save(place / name / "y.npy", y[::every])
    trained, exported = (place / folder for folder in FOLDERS.values())
    train = ["train", "--epochs", "1", "--data", str(place / "fewest"), "--out", str(trained), "--seed"]
    # Of a model that no run here replaces; the name tells the runs apart.
    export = ["export", "--plain", "--data", str(place / "few"), "--model", str(place / "model.keras")]
    export += ["--out", str(exported / "bundle"), "--name"]
    figures = ("samples.png", "loss.png", "mistakes.png")
    return {
        "train": Kind(lambda n: [*train, str(n)], ("model.keras", "history.json", *figures), judge_training, True),
        "export": Kind(lambda n: [*export, str(n)], ("bundle",), judge_bundle, False),
    }


def judge_training(folder: Path) -> int:
    json.loads((folder / "history.json").read_text(encoding="utf-8"))
    with zipfile.ZipFile(folder / "model.keras") as model:
        assert model.testzip() is None
        assert {"config.json", "model.weights.h5"} <= set(model.namelist())
    for name in ("samples.png", "loss.png", "mistakes.png"):
        with Image.open(folder / name) as picture:
            picture.load()
    return int(history_of(folder / "model.keras")["seed"])  # of this model, also if it was killed between two renames


def judge_bundle(folder: Path) -> int:
    bundle = Bundle(folder / "bundle")
    bundle.verify()
    rows = bundle.inputs()[0][:3]
    for artifact in ("float32.tflite", "int8.tflite"):
        with Classifier(bundle, artifact, "numpy") as classifier:
            assert np.abs(classifier.logits(rows) - bundle.golden()[:3]).max() < (0.5 if artifact[0] == "i" else 1e-4)
    return int(bundle.manifest.name)


@pytest.fixture(scope="module")
def clean(server: Any, kinds: dict[str, Kind], place: Path) -> dict[str, Any]:
    """Each command, left alone: it leaves its outputs and nothing else. The model is put where `export` looks."""
    runs = {}
    for command, kind in kinds.items():
        runs[command] = server.run(request(kind, place, command, 0))[0]
        assert runs[command].status == 0, runs[command].printed
        assert "\n".join(runs[command].stray) == ""
        folder = place / FOLDERS[command]
        assert sorted(path.name for path in folder.iterdir()) == sorted(kind.outputs)
        assert kind.judge(folder) == 0
        if command == "train":
            (place / "model.keras").write_bytes((folder / "model.keras").read_bytes())
    assert list(server.temporary.iterdir()) == []
    return runs


def request(kind: Kind, place: Path, command: str, number: int) -> dict[str, Any]:
    return {"arguments": kind.arguments(number), "watch": str(place / FOLDERS[command]), "eager": kind.eager}


def blow_for(how: str, alone: Any, writing: bool, chance: random.Random) -> Any:
    """A random moment of a run that went so: anywhere, or in its writing, so many seconds after one of its events."""
    if not writing:
        return interrupting.Blow(how, chance.uniform(0, 0.95 * alone.seconds))
    event = chance.randrange(alone.moments)
    moments = [moment for moment, *_ in alone.events[alone.first :]]
    gap = (moments[event + 1] if event + 1 < len(moments) else alone.seconds) - moments[event]
    return interrupting.Blow(how, chance.uniform(0, min(gap, LONGEST_WAIT)), event)


class Interruptions:
    """Strikes runs, judges each, and keeps count."""

    def __init__(self, server: Any, kinds: dict[str, Kind], clean: dict[str, Any], place: Path) -> None:
        self.server, self.kinds, self.clean, self.place = server, kinds, clean, place
        self.chance = random.Random(SEED)
        self.number = 0
        self.stands = {command: kind.judge(place / FOLDERS[command]) for command, kind in kinds.items()}
        self.lost: list[str] = []
        self.wrong: list[str] = []
        self.tally: Counter[str] = Counter()

    def strike(self, how: str, command: str, writing: bool) -> bool:
        """Run a command and interrupt it; False if it had ended before."""
        self.number += 1
        kind, folder = self.kinds[command], self.place / FOLDERS[command]
        blow = blow_for(how, self.clean[command], writing, self.chance)
        (ran,) = self.server.run(request(kind, self.place, command, self.number), blow=blow)
        at = f"run {self.number}, {command}, {how} after {ran.struck or 0:.3f} s, ended with {ran.status}"
        self.wrong += [f"{at}: {what}" for what in misbehavior(how, ran)]
        interrupted: bool = ran.status == STATUS[how]
        if interrupted:
            self.tally[how] += 1
            self.tally["writing"] += ran.writing
        try:
            found = kind.judge(folder)
            if found != self.number and not (interrupted and found == self.stands[command]):
                self.lost.append(f"{at}: {found} stands there, and before it was {self.stands[command]}")
            self.tally["new"] += interrupted and found == self.number
            self.stands[command] = found
        except Exception as error:  # noqa: BLE001 # whatever it is, it is a loss
            self.lost.append(f"{at}: {error!r}")
        self._look_for_litter(at, how, kind, folder)
        return interrupted

    def _look_for_litter(self, at: str, how: str, kind: Kind, folder: Path) -> None:
        left = {path.name for path in folder.iterdir()} - set(kind.outputs)
        scratch = {path.name for path in self.server.temporary.iterdir()}
        ours = {name for name in scratch if name.startswith("edgedigits-unfinished-")}
        if left - set(kind.temporaries) or scratch - ours or len(ours) > 1:
            self.wrong.append(f"{at}: left {sorted(left | scratch)}")
        if how != "kill" and (left or scratch):
            self.tally["litter"] += 1


def misbehavior(how: str, ran: Any) -> Iterator[str]:
    """What is wrong with how a command ended, and with what it said."""
    last = (ran.printed.splitlines() or [""])[-1]
    if ran.status == STATUS[how]:
        if how == "interrupt" and last != INTERRUPTED:
            yield ran.printed
        if how == "full" and (not last.startswith("edgedigits: ") or "internal error" in last):
            yield ran.printed
        if "Traceback" in ran.printed:
            yield ran.printed
    elif ran.status != 0:
        yield ran.printed
    elif how == "interrupt" and ran.struck is not None and ran.seconds - ran.struck > IGNORED:
        yield f"went on for {ran.seconds - ran.struck:.1f} s"


def test_nothing_is_lost(
    server: Any, kinds: dict[str, Kind], clean: dict[str, Any], place: Path, counted: Callable[[str], None]
) -> None:
    interruptions = Interruptions(server, kinds, clean, place)
    planned = [
        (how, command, number % 2 == 0)
        for how, times in TIMES.items()
        for command, count in zip(kinds, times, strict=True)
        for number in range(count)
    ]
    interruptions.chance.shuffle(planned)
    for how, command, writing in planned:
        while not interruptions.strike(how, command, writing):
            interruptions.tally["too late"] += 1
    tally = interruptions.tally
    blows = f"{tally['kill']} SIGKILL, {tally['interrupt']} SIGINT, {tally['full']} full disks; seed {SEED}"
    counted(
        f"{len(planned)} interrupted writes ({blows}): {tally['writing']} while writing, {len(interruptions.lost)} "
        f"losses; the old output stood {len(planned) - tally['new']} times, the new one {tally['new']} times"
    )
    assert "\n".join(interruptions.lost) == ""
    assert "\n".join(interruptions.wrong) == ""
    assert tally["litter"] <= 1  # where it could clean up: a Ctrl-C can strike before there is anything to clean up for
    assert tally["writing"] >= len(planned) // 5


@pytest.mark.parametrize("command", FOLDERS)
def test_the_next_run_removes_what_was_left(
    server: Any, kinds: dict[str, Kind], clean: dict[str, Any], place: Path, command: str
) -> None:
    kind, folder = kinds[command], place / FOLDERS[command]
    blow = interrupting.Blow("kill", 0.0, clean[command].moments // 2)
    (killed,) = server.run(request(kind, place, command, 1003), blow=blow)
    assert killed.status == -9
    assert {path.name for path in folder.iterdir()} > set(kind.outputs)
    assert len(list(server.temporary.iterdir())) == 1
    (ran,) = server.run(request(kind, place, command, 1004))
    assert ran.status == 0
    assert kind.judge(folder) == 1004
    assert sorted(path.name for path in folder.iterdir()) == sorted(kind.outputs)
    assert list(server.temporary.iterdir()) == []


@pytest.mark.parametrize("command", FOLDERS)
def test_two_at_once(server: Any, kinds: dict[str, Kind], clean: dict[str, Any], place: Path, command: str) -> None:
    """One wins whole, the other says so at once."""
    runs = server.run(*(request(kinds[command], place, command, number) for number in (1001, 1002)))
    (winner,) = (number for number, run in enumerate(runs) if run.status == 0)
    loser = runs[1 - winner]
    folder = place / FOLDERS[command]
    assert loser.status == 2
    first = folder / kinds[command].outputs[0]
    assert loser.printed == (
        f"edgedigits: another process is writing {first}; wait until it is done, or choose another name\n"
    )
    assert loser.seconds < runs[winner].seconds / 3
    assert kinds[command].judge(folder) == 1001 + winner
    assert sorted(path.name for path in folder.iterdir()) == sorted(kinds[command].outputs)
