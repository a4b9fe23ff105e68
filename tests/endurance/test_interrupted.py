"""`train` and `export`, interrupted at every step of their writing and at random moments: nothing is lost."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgedigits.bundle.bundle import Bundle
from edgedigits.classifier import Classifier
from edgedigits.system.files import locked, sha256

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="it forks, and sets another process's limits"),
]
pytest.importorskip("tensorflow")

DATA = Path(__file__).parents[2] / "data"
TRAINED = ("model.keras", "history.json", "samples.png", "loss.png", "mistakes.png")
OUTPUTS = {"train": TRAINED, "export": ("bundle",)}
SEED = 20240229
# How often, of `train` and of `export`: half at steps of the writing, half at random moments.
TIMES = {"kill": (80, 20), "interrupt": (16, 4), "full": (16, 4)}
INTERRUPTED = "edgedigits: interrupted; nothing was left half-written\n"
Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with few digits, so that most of the time is not spent on arithmetic; temporary files go to ``tmp``."""
    place = tmp_path_factory.mktemp("interrupted")
    x, y = (np.load(DATA / name) for name in ("X.npy", "y.npy"))
    for name, every in (("few", 50), ("fewest", 1000)):
        (place / name).mkdir()
        np.save(place / name / "X.npy", x[::every])
        np.save(place / name / "y.npy", y[::every])
    for name in ("tmp", "model", *OUTPUTS):
        (place / name).mkdir()
    return place


@pytest.fixture(scope="module")
def run(place: Path) -> Iterator[Run]:
    """Runs a command; the number tells the runs apart in what they write."""
    # One thread each: there are other tests on the other cores.
    one = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "TMPDIR": str(place / "tmp"), "PYTHONWARNINGS": "ignore"}
    arguments = {
        "train": ["train", "--epochs", "1", "--data", f"{place}/fewest", "--out", f"{place}/train", "--seed"],
        "model": ["train", "--data", f"{place}/few", "--out", f"{place}/model", "--seed"],  # one worth exporting
        "export": ["export", "--plain", "--data", f"{place}/few", "--model", f"{place}/model/model.keras"],
    }
    arguments["export"] += ["--allow-mismatches", "100", "--out", f"{place}/export/bundle", "--name"]

    def run(command: str, number: int, **strike: Any) -> dict[str, Any]:
        assert server.stdin
        assert server.stdout
        request = {"arguments": [*arguments[command], str(number)], "watch": f"{place}/{command}"}
        server.stdin.write(json.dumps(request | strike) + "\n")
        server.stdin.flush()
        result: dict[str, Any] = json.loads(server.stdout.readline())
        return result

    line = [sys.executable, str(Path(__file__).with_name("victims.py"))]
    with subprocess.Popen(line, stdin=-1, stdout=-1, env=os.environ | one | quiet, text=True) as server:
        assert server.stdout
        assert server.stdout.readline() == "ready\n"
        yield run


@pytest.fixture(scope="module")
def undisturbed(run: Run, place: Path) -> dict[str, dict[str, Any]]:
    """Each command, left alone: it leaves its outputs and nothing else."""
    found = {}
    assert run("model", 0)["status"] == 0
    for command in OUTPUTS:
        found[command] = run(command, 0)
        assert (found[command]["status"], found[command]["printed"]) == (0, "")
        assert what_stands(place, command) == 0
        assert left(place, command) == set()
    return found


def left(place: Path, command: str) -> set[str]:
    """What is there beside the outputs."""
    return {path.name for path in (*(place / command).iterdir(), *(place / "tmp").iterdir())} - {*OUTPUTS[command]}


def what_stands(place: Path, command: str) -> int:
    """The number of the run that wrote the output, all of which is checked."""
    folder = place / command
    if command == "train":
        with zipfile.ZipFile(folder / "model.keras") as model:
            assert model.testzip() is None
        for name in TRAINED[2:]:
            with Image.open(folder / name) as picture:
                picture.load()
        history = json.loads((folder / "history.json").read_text(encoding="utf-8"))
        assert history["model_sha256"] == sha256((folder / "model.keras").read_bytes())
        return int(history["seed"])
    bundle = Bundle(folder / "bundle")
    bundle.verify()
    for artifact, tolerance in (("float32.tflite", 1e-4), ("int8.tflite", 0.5)):
        with Classifier(bundle, artifact, "numpy") as classifier:
            assert np.abs(classifier.logits(bundle.inputs()[0][:3]) - bundle.golden()[:3]).max() < tolerance
    return int(bundle.manifest.name)


def test_nothing_is_lost(
    run: Run, undisturbed: dict[str, dict[str, Any]], place: Path, counted: Callable[[str], None]
) -> None:
    chance, tally, stands, number = random.Random(SEED), Counter[str](), dict.fromkeys(OUTPUTS, 0), 0
    planned = []
    for how, times in TIMES.items():
        for command, count in zip(OUTPUTS, times, strict=True):
            alone, half = undisturbed[command], count // 2
            planned += [(how, command, {"event": n * alone["events"] // half}) for n in range(half)]
            planned += [(how, command, {"seconds": chance.uniform(0, alone["seconds"])}) for _ in range(half)]
    chance.shuffle(planned)
    for number, (how, command, when) in enumerate(planned, start=1):
        ended = run(command, number, how=how, **when)
        at = f"run {number}, {command}, {how} at {when}: {ended}"
        print(at)  # noqa: T201 # shown with a failure
        check_end(how, "event" in when, ended, at)
        work = {f".{name}.unfinished" for name in OUTPUTS[command]}
        if how == "kill":
            if any((place / command / name / "done").exists() for name in work):  # killed between two renames
                tally["completed by the next"] += 1
                with locked(*(place / command / name for name in OUTPUTS[command])):
                    pass
            shutil.rmtree(place / "tmp")
            (place / "tmp").mkdir()
        assert left(place, command) <= work, at
        found = what_stands(place, command)
        assert found in (number, *([stands[command]] if ended["status"] else [])), at
        tally["interrupted"] += ended["status"] != 0
        tally["new"] += ended["status"] != 0 and found == number
        stands[command] = found
    counted(
        f"{len(planned)} runs, {tally['interrupted']} of them interrupted; seed {SEED}: nothing was lost, the new "
        f"output was there {tally['new']} times, and {tally['completed by the next']} times the next run completed it"
    )
    assert tally["interrupted"] >= len(planned) // 2
    for command in OUTPUTS:
        assert run(command, number + 1)["status"] == 0
        assert what_stands(place, command) == number + 1
        assert left(place, command) == set()


def check_end(how: str, at_event: bool, ended: dict[str, Any], at: str) -> None:
    """A command that was struck at a random moment may have been at its end already."""
    status, printed = ended["status"], ended["printed"]
    if status == 0:
        assert printed == "", at
        assert how == "full" or not at_event, at
    elif how == "kill":
        assert status == -9, at
    elif how == "interrupt":
        assert (status, printed) == (130, INTERRUPTED), at
    else:
        assert status == 2, at
        # An artifact that cannot be made for want of space is a warning before the error.
        assert re.fullmatch(r"(warning: .*\n)*edgedigits: (?!internal error).*\n", printed), at
