"""Compare two checkouts: run the commands of both on the same input and compare exit statuses and JSON.

    python benchmarks/equal.py BEFORE AFTER

BEFORE and AFTER are Python interpreters in which edgedigits is installed. Times, paths, versions and the wording of
messages may differ. Prints one line per command; the exit status is 1 if a command differs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from drawing import FAMILIES, draw

ROOT = Path(__file__).parents[1]
# Keys whose values may differ between two runs or two checkouts; they must still be present in both.
MACHINE_STATE = {"load_1min", "frequency_khz", "temperature_millicelsius", "peak_rss_bytes", "throttling"}
MEASURED = {
    "seconds",
    "samples",
    "invoke_samples",
    "spread",
    "noisy",
    "histogram",
    "batch_ns",
    "threads_p50_ns",
    "knee",
}
WORDING = {"message", "what", "remedy", "line", "problem", "threats", "warnings", "notes", "doubts", "error"}
PATHS_AND_VERSIONS = {"bundle", "version", "edgedigits", "wheels_checked"}
IGNORED = MACHINE_STATE | MEASURED | WORDING | PATHS_AND_VERSIONS
MOST_SHOWN = 5


def differences(before: Any, after: Any, where: str = "") -> Iterator[str]:
    """The places at which two JSON values differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys([*before, *after]):
            place = f"{where}.{key}".lstrip(".")
            if key not in before or key not in after:
                yield f"{place} only in {'BEFORE' if key in before else 'AFTER'}"
            elif key not in IGNORED and not key.endswith("_ns"):
                yield from differences(before[key], after[key], place)
    elif isinstance(before, list) and isinstance(after, list):
        if len(before) != len(after):
            yield f"{where} has {len(before)} items in BEFORE, {len(after)} in AFTER"
        for i, (one, other) in enumerate(zip(before, after, strict=False)):
            yield from differences(one, other, f"{where}[{i}]")
    elif type(before) is not type(after) or before != after:
        yield f"{where}: {json.dumps(before)} in BEFORE, {json.dumps(after)} in AFTER"


def run(python: str, arguments: list[str], folder: Path) -> tuple[int, Any]:
    """The exit status of a command and its JSON; None if it wrote nothing to standard output."""
    environment = {**os.environ, "PIP_NO_INDEX": "1", "PYTHONPATH": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [python, "-m", "edgedigits", *arguments, "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    if "Traceback" in done.stderr:
        return done.returncode, {"traceback": done.stderr.splitlines()[-1]}
    return done.returncode, json.loads(done.stdout) if done.stdout else None


def commands(notebook: Path, folder: Path, short: bool) -> Iterator[tuple[str, list[str]]]:
    """Names and arguments; the files they need are written to ``folder``."""
    rows = ["--runtime", "litert", "--runtime", "onnxruntime"] if short else []
    yield "parity", ["parity", *rows]
    yield "parity of unseen digits", ["parity", "--unseen", "--data", str(ROOT / "data"), "--kernels", "default", *rows]
    yield "benchmark --quick", ["benchmark", "--quick", *rows, *(["--artifact", "int8"] if short else [])]

    pictures = folder / "pictures"
    pictures.mkdir()
    with np.load(ROOT / "data" / "unseen.npz") as arrays:
        digits = arrays["images"][:: len(arrays["images"]) // 20]
    for family in FAMILIES:
        for number, digit in enumerate(digits[: 3 if short else 20]):
            (pictures / f"{family.replace(' ', '-')}-{number}.png").write_bytes(draw(family, digit, number))
    (pictures / "damaged.png").write_bytes(b"not a picture")
    yield "predict of a folder", ["predict", str(pictures)]
    indices = [word for index in range(0, 5000, 250) for word in ("--index", str(index))]
    for artifact, runtime in (
        ("float32.tflite", "litert"),
        ("int8", "litert"),
        ("float32.onnx", "onnxruntime"),
        ("int8", "numpy"),
    ):
        choice = ["--bundle", "notebook", "--artifact", artifact, "--runtime", runtime]
        yield f"predict --index, {artifact} in {runtime}", ["predict", *choice, *indices]
    yield "predict --index out of range", ["predict", "--index", "5000"]

    yield "inspect", ["inspect"]
    yield "inspect robust", ["inspect", "robust"]
    yield "inspect --int8", ["inspect", "--int8"]
    for name, damage in DAMAGES.items():
        copy = folder / name.replace(" ", "-")
        shutil.copytree(notebook, copy)
        damage(copy)
        yield f"inspect of a bundle with {name}", ["inspect", str(copy)]
        yield f"predict with {name}", ["predict", "--bundle", str(copy), "--index", "0"]
    yield "doctor", ["doctor"]
    yield "kit without a network", ["kit", "--target", "linux-64", "--runtime", "numpy", "-o", str(folder / "kit.zip")]

    for name in ("signed", "edited"):
        shutil.copytree(notebook, folder / name)
    yield "sign", ["sign", str(folder / "signed"), "--key", str(folder / "first.key")]
    yield "inspect of a signed bundle", ["inspect", str(folder / "signed")]
    yield "verify", ["verify", str(folder / "signed"), "--key", str(folder / "first.pub")]
    yield "verify with another key", ["verify", str(folder / "signed"), "--key", str(folder / "second.pub")]
    yield "verify of an unsigned bundle", ["verify", str(notebook), "--key", str(folder / "first.pub")]
    flip_byte(folder / "signed" / "golden.npz")
    yield "verify of a changed bundle", ["verify", str(folder / "signed"), "--key", str(folder / "first.pub")]
    yield "sign of a changed bundle", ["sign", str(folder / "signed"), "--key", str(folder / "first.key")]


def flip_byte(path: Path, at: int = 500) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def edit_manifest(bundle: Path, key: str, value: Any) -> None:
    path = bundle / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {key: value}), encoding="utf-8")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a changed artifact": lambda bundle: flip_byte(bundle / "float32.tflite"),
    "changed inputs": lambda bundle: flip_byte(bundle / "inputs.npz"),
    "a truncated artifact": lambda bundle: truncate(bundle / "int8.tflite"),
    "no golden outputs": lambda bundle: (bundle / "golden.npz").unlink(),
    "a truncated manifest": lambda bundle: truncate(bundle / "manifest.json"),
    "no manifest": lambda bundle: (bundle / "manifest.json").unlink(),
    "another schema": lambda bundle: edit_manifest(bundle, "schema", 99),
    "a wrong type in the manifest": lambda bundle: edit_manifest(bundle, "artifacts", 5),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the results of two checkouts.")
    parser.add_argument("before", metavar="BEFORE", help="Python interpreter of the first checkout")
    parser.add_argument("after", metavar="AFTER", help="Python interpreter of the second checkout")
    parser.add_argument("--short", action="store_true", help="fewer rows and pictures")
    options = parser.parse_args()
    pythons = [os.path.abspath(python) for python in (options.before, options.after)]  # noqa: PTH100 # keeps links
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        find = [pythons[0], "-c", "import edgedigits; print(edgedigits.Bundle().path)"]
        notebook = Path(subprocess.run(find, capture_output=True, text=True, check=True, cwd=folder).stdout.strip())
        for key in ("first", "second"):
            run(pythons[0], ["keygen", str(folder / key)], folder)
        for title, arguments in commands(notebook, folder, options.short):
            (status, before), (new_status, after) = (run(python, arguments, folder) for python in pythons)
            found = list(differences(before, after))
            if status != new_status:
                found.insert(0, f"exit status {status} in BEFORE, {new_status} in AFTER")
            failed += bool(found)
            details = "; ".join(found[:MOST_SHOWN]) + f"; {len(found) - MOST_SHOWN} more" * (len(found) > MOST_SHOWN)
            print(
                f"{'DIFFERENT' if found else 'same'}: {title}, status {status}{': ' * bool(found)}{details}", flush=True
            )
    print(f"{failed} commands differ" if failed else "all commands give the same results")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
