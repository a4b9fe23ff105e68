"""Start-up: the time of whole processes from start to exit, and their peak memory.

The wheel is built and installed in a new virtual environment that can import this one's packages, and every module is
compiled, as for a user. Peak memory is what wait4(2) reports.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from pathlib import Path

from side_by_side import Row, at_least, at_most, clean_environment, in_turns, markdown, progress, ratio, run

Series = dict[int, float]  # by round

ROOT = Path(__file__).parents[1]
PASS = "`python -c pass`"
PICTURE_IMPORTS, INDEX_IMPORTS = "the bare imports for a picture", "the bare imports for `--index`"
HELP, VERSION = "`edgedigits --help`", "`edgedigits --version`"
PICTURE, INDEX = "`edgedigits predict digit.png`", "`edgedigits predict --index 1015`"
WITH_TENSORFLOW = "the same prediction with TensorFlow"
# The imports a command needs: its parser, NumPy, the runtime, and for a picture Pillow with its PNG reader.
BARE_IMPORTS = {
    PICTURE_IMPORTS: "import click, numpy, PIL.PngImagePlugin, ai_edge_litert.interpreter",
    INDEX_IMPORTS: "import click, numpy, ai_edge_litert.interpreter",
}
DRAW = """
import sys, numpy, PIL.Image
PIL.Image.fromarray(numpy.load(sys.argv[1])["images"][1015]).save(sys.argv[2])
"""
# The same without edgedigits; the picture is 28x28 and white on black as in MNIST, so no digit has to be located.
TENSORFLOW = """
import sys
import numpy as np
import tensorflow as tf
from PIL import Image

picture = Image.open(sys.argv[2]).convert("L").resize((20, 20), Image.BICUBIC)
row = (np.asarray(picture, np.float32) / 255).T.reshape(1, 400)
interpreter = tf.lite.Interpreter(sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
interpreter.set_tensor(interpreter.get_input_details()[0]["index"], row)
interpreter.invoke()
logits = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
probabilities = tf.nn.softmax(logits).numpy()
print(f"{sys.argv[2]}: {probabilities.argmax()} {probabilities.max():.1%}")
"""


def install(folder: Path) -> Path:
    """Install the wheel in a new virtual environment that can import this one's packages; return its bin folder."""
    progress("building and installing the wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    wheels = folder / "wheels"
    command = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(ROOT)]
    subprocess.run(command, check=True)
    environment = folder / "venv"
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    (wheel,) = wheels.glob("*.whl")
    subprocess.run([*pip, "--python", str(python), "install", "--no-deps", str(wheel)], check=True)
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "these.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return python.parent


def start(command: list[str], environment: dict[str, str], folder: Path) -> tuple[float, int]:
    """Run a command; return seconds and peak resident memory in bytes."""
    began = time.perf_counter()
    child = subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{command} ended with status {child.returncode}")
    return seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def same_rounds(ours: Series, theirs: Series) -> float:
    """The median ratio over the rounds in which both ran."""
    both = sorted(ours.keys() & theirs.keys())
    return ratio([ours[number] for number in both], [theirs[number] for number in both])


def measure(quick: bool) -> Row:
    with tempfile.TemporaryDirectory() as name:
        return _measure(quick, Path(name))


def _measure(quick: bool, folder: Path) -> Row:
    environment = clean_environment()
    programs = install(folder)
    python, edgedigits = str(programs / "python"), str(programs / "edgedigits")
    picture, model = "digit.png", str(ROOT / "edgedigits" / "models" / "notebook" / "float32.tflite")
    draw = [python, "-c", DRAW, str(ROOT / "data" / "source.npz"), picture]
    subprocess.run(draw, check=True, cwd=folder, env=environment)
    commands = {
        PASS: [python, "-c", "pass"],
        VERSION: [edgedigits, "--version"],
        HELP: [edgedigits, "--help"],
        **{name: [python, "-c", imports] for name, imports in BARE_IMPORTS.items()},
        PICTURE: [edgedigits, "predict", picture],
        INDEX: [edgedigits, "predict", "--index", "1015"],
        WITH_TENSORFLOW: [python, "-c", TENSORFLOW, model, picture],
    }
    for rival in (PICTURE, INDEX, WITH_TENSORFLOW):  # check before timing
        done = subprocess.run(commands[rival], cwd=folder, env=environment, capture_output=True, text=True)
        if ": 2 " not in done.stdout:
            raise SystemExit(f"{rival} did not read the 2: {done.stdout or done.stderr}")
    for command in commands.values():  # fill the file cache, compile every module
        start(command, environment, folder)
    seconds: dict[str, Series] = {rival: {} for rival in commands}
    memory: dict[str, Series] = {rival: {} for rival in commands}
    for number, rival in in_turns(commands, 3 if quick else 25):
        if rival != WITH_TENSORFLOW or number % 5 == 0:  # it takes as long as all others together
            seconds[rival][number], memory[rival][number] = start(commands[rival], environment, folder)
    base = {rival: INDEX_IMPORTS if rival in (INDEX, INDEX_IMPORTS) else PICTURE_IMPORTS for rival in commands}
    rows: list[Row] = [
        {
            "command": rival,
            "starts": len(seconds[rival]),
            "median_seconds": round(statistics.median(seconds[rival].values()), 4),
            "min_seconds": round(min(seconds[rival].values()), 4),
            "max_seconds": round(max(seconds[rival].values()), 4),
            "imports": base[rival],
            "ratio_to_imports": round(same_rounds(seconds[rival], seconds[base[rival]]), 3),
            "peak_bytes": int(statistics.median(memory[rival].values())),
            "memory_ratio_to_imports": round(same_rounds(memory[rival], memory[base[rival]]), 3),
        }
        for rival in commands
    ]
    table = markdown(
        ("process", "median, ms", "min to max, ms", "times its imports", "peak memory, MB", "times its imports'"),
        (
            (
                row["command"],
                f"{row['median_seconds'] * 1e3:.0f}",
                f"{row['min_seconds'] * 1e3:.0f} to {row['max_seconds'] * 1e3:.0f}",
                f"{row['ratio_to_imports']:.2f}",
                f"{row['peak_bytes'] / 1e6:.1f}",
                f"{row['memory_ratio_to_imports']:.2f}",
            )
            for row in rows
        ),
    )
    targets = []
    for rival in (PICTURE, INDEX):
        times = same_rounds(seconds[rival], seconds[base[rival]])
        faster = same_rounds(seconds[WITH_TENSORFLOW], seconds[rival])
        targets += [
            at_most(f"{rival}, times the imports", times, 1.25),
            at_most(f"{rival}, times the imports' peak memory", same_rounds(memory[rival], memory[base[rival]]), 1.15),
            at_least(f"{rival}, times faster than with TensorFlow", faster, 12),
        ]
    return {"imports": BARE_IMPORTS, "rows": rows, "table": table, "targets": targets}


if __name__ == "__main__":
    run("start", "Start: whole processes and their peak memory", measure)
