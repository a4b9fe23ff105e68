"""The command as a user types it, each time in a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

import edgedigits as package
from edgedigits.bundle.bundle import GOLDEN, Bundle
from edgedigits.cli import COMMANDS, cli

Run = Callable[..., subprocess.CompletedProcess[str]]
HEAVY = {"numpy", "PIL", "ai_edge_litert", "tflite_runtime", "onnxruntime", "tensorflow", "keras", "matplotlib"}
HEAVY |= {"cryptography"}


def trouble(done: subprocess.CompletedProcess[str]) -> str:
    """The one-line error of a command that ended with status 2."""
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    (line,) = (line for line in done.stderr.splitlines() if not line.startswith("INFO: "))  # LiteRT names its delegate
    assert line.startswith("edgedigits: ")
    return line.removeprefix("edgedigits: ")


class TestHelp:
    @pytest.mark.parametrize("arguments", ["--help", "--version", "doctor --help"])
    def test_nothing_heavy_is_imported(self, arguments: str) -> None:
        command = [sys.executable, "-X", "importtime", "-m", "edgedigits", *arguments.split()]
        done = subprocess.run(command, capture_output=True, text=True)
        imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
        assert done.returncode == 0
        assert "click" in imported
        assert not HEAVY & imported

    def test_commands_are_listed(self, edgedigits: Run) -> None:
        listed = re.findall(r"^  ([a-z]+)  ", edgedigits("--help").stdout, re.MULTILINE)
        assert listed == sorted(listed)
        assert {*COMMANDS, "train", "export", "plot", "run"} <= set(listed)

    @pytest.mark.parametrize("name", COMMANDS)
    def test_every_command_and_option_has_help(self, name: str) -> None:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        assert len(command.get_short_help_str()) > 10
        assert len(command.help or "") > 40
        options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
        assert [option.name for option in options if not option.help] == []

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ("predikt", "no command is called 'predikt'; did you mean predict?; see `edgedigits --help`"),
            ("predict", "--index N"),
            ("parity --workers -3", "-3 is not in the range x>=1; see `edgedigits parity --help`"),
            ("parity --allow-mismatches -1", "-1 is not in the range x>=0"),
            ("parity --timeout 0", "0 is not a number above 0"),
            ("parity --kernels fast", "'fast' is not one of 'default', "),
            ("predict --index 0 --bundle mine --json mine", "mine is an input and would be overwritten"),
            ("parity --json no/such/folder.json", "no/such is no folder; make it first"),
            ("benchmark --threads 9999", "9999 is not in the range 1<=x<="),
            ("benchmark --quick --windows 3", "--quick sets --windows, --min-seconds and --starts"),
        ],
    )
    def test_wrong_usage(self, edgedigits: Run, arguments: str, message: str) -> None:
        assert message in trouble(edgedigits(*arguments.split()))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full, a device that is always full")
@pytest.mark.parametrize("arguments", ["--version", "inspect", "predict --index 0 --json -"])
def test_no_room_for_the_output(arguments: str) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "edgedigits", *arguments.split()]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert re.fullmatch(r"edgedigits: .*No space left on device; check the free space .*\n", done.stderr)


def test_an_output_that_is_an_input_is_refused(edgedigits: Run, tmp_path: Path) -> None:
    for name in ("bench.json", "digit.png"):
        (tmp_path / name).write_bytes(b"precious")
    bench, picture = tmp_path / "bench.json", tmp_path / "digit.png"
    for arguments in (("report", bench, "-o", bench), ("predict", picture, "--json", picture)):
        done = edgedigits(*arguments)
        assert done.returncode == 2
        assert "is an input and would be overwritten; choose another output file" in done.stderr
    assert bench.read_bytes() == picture.read_bytes() == b"precious"


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell closes the streams")
def test_closed_streams() -> None:
    command = f"{sys.executable} -m edgedigits predict --index 1015 --bundle notebook"
    for closed, shown in (("2>&-", "X[1015]: 2 "), (">&-", "")):
        done = subprocess.run(["sh", "-c", f"{command} {closed}"], capture_output=True, text=True)
        assert (done.returncode, done.stdout[: len("X[1015]: 2 ")]) == (0, shown)


def test_sigterm_removes_temporary_files(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgedigits", "parity", "--runtime", "numpy"]
    with subprocess.Popen(command, env={**os.environ, "TMPDIR": str(tmp_path)}, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not list(tmp_path.rglob("X.npy")):  # written inside the folder's block
            time.sleep(0.001)
        process.terminate()
    assert process.returncode in (0, 143)  # it may have been quicker
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["click", "edgedigits.system.terminal", "edgedigits.commands.inspect", "numpy"])
def test_ctrl_c_while_modules_are_imported(name: str) -> None:
    code = f"""
import signal, sys
class Interrupting:
    def find_spec(name, path, target=None):
        if name == {name!r}:
            signal.raise_signal(signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupting)
from edgedigits.cli import main
main(["inspect"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr in ("", "edgedigits: interrupted; nothing was left half-written\n")


def test_exit_handlers_run_under_a_profiler_only(edgedigits: Run) -> None:
    setup = "import atexit, sys; atexit.register(print, 'at exit'); from edgedigits.cli import main; "
    version = f"edgedigits, version {package.__version__}\n"
    for profiler, expected in (("", version), ("sys.setprofile(lambda *_: None); ", version + "at exit\n")):
        command = [sys.executable, "-c", f"{setup}{profiler}main(['--version'])"]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == expected


class TestPredict:
    def test_image_of_the_bundle(self, edgedigits: Run) -> None:
        done = edgedigits("predict", "--index", "0")
        assert done.returncode == 0
        assert re.fullmatch(r"X\[0\]: 0 \d+\.\d% \(then \d \d+\.\d%; float32\.tflite in litert\)\n", done.stdout)

    def test_artifact_and_runtime(self, edgedigits: Run) -> None:
        done = edgedigits("predict", "--index", "1015", "--artifact", "int8", "--runtime", "numpy", "--json", "-")
        (result,) = json.loads(done.stdout)
        assert (result["digit"], result["artifact"], result["runtime"]) == (2, "int8.tflite", "numpy")

    def test_ascii_and_json_file(self, edgedigits: Run, tmp_path: Path) -> None:
        json_file = tmp_path / "found.json"
        *drawing, last = edgedigits("predict", "--index", "0", "--ascii", "--json", json_file).stdout.splitlines()
        assert len(drawing) == 20
        assert "@" in "".join(drawing)
        assert last.startswith("X[0]: 0")
        assert json.loads(json_file.read_text())[0]["digit"] == 0

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--index", "5000"), "no image 5000: the bundle holds images 0 to 4999"),
            (("--index", "0", "--bundle", "none"), "none: no such bundle; expected a directory or .zip made by "),
            (("--index", "0", "--artifact", "int8", "--runtime", "onnxruntime"), "onnxruntime does not open int8.tfl"),
        ],
    )
    def test_trouble(self, edgedigits: Run, arguments: tuple[str, ...], message: str) -> None:
        assert message in trouble(edgedigits("predict", *arguments))

    def test_debug_shows_the_traceback(self, edgedigits: Run) -> None:
        done = edgedigits("--debug", "predict", "--index", "5000")
        assert "Traceback (most recent call last)" in done.stderr
        assert "InputError: no image 5000" in done.stderr


def test_parity_fails(edgedigits: Run, replace_in_bundle: Callable[[str, bytes], Path], tmp_path: Path) -> None:
    golden = Bundle().golden()
    golden[[0, 4999]] = golden[[4999, 0]]
    np.savez(tmp_path / "golden.npz", logits=golden)
    altered = replace_in_bundle(GOLDEN, (tmp_path / "golden.npz").read_bytes())
    done = edgedigits("parity", altered, "--artifact", "float32.onnx", "--kernels", "default", "--json", "-")
    report = json.loads(done.stdout)
    assert (done.returncode, report["passed"], report["rows"][0]["mismatched"]) == (1, False, [0, 4999])


def test_benchmark(edgedigits: Run, tmp_path: Path) -> None:
    quick = ("--artifact", "int8", "--runtime", "numpy", "--windows", "1", "--min-seconds", "0.05", "--starts", "0")
    done = edgedigits("benchmark", *quick, "--json", tmp_path / "times.json")
    assert done.returncode == 0
    (row,) = json.loads((tmp_path / "times.json").read_text())["rows"]
    assert (row["artifact"], row["runtime"], row["status"]) == ("int8.tflite", "numpy", "ok")
    assert f"{row['p50_ns']:,}" in done.stdout


def test_inspect(edgedigits: Run) -> None:
    text = edgedigits("inspect").stdout
    for artifact in Bundle().manifest.artifacts:
        for fact in (artifact.file, f"{artifact.bytes:,}", artifact.sha256[:16], str(artifact.input)):
            assert fact in text
    facts = json.loads(edgedigits("inspect", "--json", "-").stdout)
    assert facts == {**json.loads(Bundle().manifest_bytes), "signature": None, "problems": []}


class TestMissingPackages:
    """Packages are hidden, as on a device without them."""

    @pytest.mark.parametrize("command", [("train",), ("export",), ("run",), ("plot", "samples")], ids=" ".join)
    def test_workstation_command(self, edgedigits: Run, hidden: Any, command: tuple[str, ...]) -> None:
        env = hidden("tensorflow", "tf2onnx", "onnx", "matplotlib")
        line = trouble(edgedigits(*command, env=env))
        assert line.startswith("this command needs ")
        assert ": pip install tensorflow" in line
        assert edgedigits(command[0], "--help", env=env).returncode == 0

    def test_named_runtime(self, edgedigits: Run, hidden: Any) -> None:
        for command in (("predict", "--index", "0"), ("parity",), ("benchmark",)):
            done = edgedigits(*command, "--runtime", "onnxruntime", env=hidden("onnxruntime"))
            assert trouble(done) == "the runtime onnxruntime is not installed; pip install onnxruntime"

    def test_another_runtime_is_chosen(self, edgedigits: Run, hidden: Any) -> None:
        done = edgedigits("predict", "--index", "0", env=hidden("ai_edge_litert", "tflite_runtime"))
        assert re.match(r"X\[0\]: 0 .*; float32\.\w+ in (onnxruntime|numpy)\)", done.stdout)

    def test_tensorflow_is_never_chosen(self, edgedigits: Run, hidden: Any) -> None:
        env = hidden("ai_edge_litert", "tflite_runtime", "onnxruntime", "flatbuffers")
        line = trouble(edgedigits("predict", "--index", "0", env=env))
        assert line.startswith("no installed runtime opens float32.tflite or ")
        assert "pip install ai-edge-litert" in line
        assert "tensorflow" not in line

    def test_parity_lists_missing_rows(self, edgedigits: Run, hidden: Any) -> None:
        options = ("--artifact", "float32.onnx", "--artifact", "float32.tflite", "--kernels", "default", "--json", "-")
        done = edgedigits("parity", *options, env=hidden("onnxruntime", "tflite_runtime", "tensorflow"))
        report = json.loads(done.stdout)
        assert (done.returncode, report["passed"]) == (0, True)
        status = {row["runtime"]: (row["status"], row["passed"], row["mismatches"]) for row in report["rows"]}
        assert status["litert"] == ("ok", True, 0)
        for runtime in ("onnxruntime", "tflite-runtime", "tensorflow"):
            assert status[runtime] == ("missing", True, None)
        (message,) = (row["message"] for row in report["rows"] if row["runtime"] == "onnxruntime")
        assert message == "not installed; pip install onnxruntime"

    def test_parity_names_missing_runtimes_in_one_line(self, edgedigits: Run, hidden: Any) -> None:
        options = ("--artifact", "float32.onnx", "--artifact", "float32.tflite", "--kernels", "default")
        done = edgedigits("parity", *options, env=hidden("onnxruntime", "tensorflow"))
        (line,) = (line for line in done.stdout.splitlines() if "not installed" in line)
        assert line == "not installed: onnxruntime; `edgedigits doctor` shows how to install them"
        assert "tensorflow" not in done.stdout

    def test_help_says_which_commands_cannot_run(self, edgedigits: Run, hidden: Any) -> None:
        here, _, elsewhere = edgedigits("--help", env=hidden("tensorflow")).stdout.partition(
            "Commands that cannot run here without tensorflow:"
        )
        assert ("  parity " in here, "  train " in here, "  train " in elsewhere) == (True, False, True)

    def test_parity_without_a_runtime_fails(self, edgedigits: Run, hidden: Any) -> None:
        line = trouble(edgedigits("parity", "--artifact", "float32.onnx", env=hidden("onnxruntime")))
        assert line.startswith("no runtime is installed, so nothing was checked; pip install ")


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
@pytest.mark.parametrize("requested", [None, "2"])
def test_commands_run_numpy_on_one_thread(requested: str | None) -> None:
    code = (
        "import os; from edgedigits.cli import cli; cli(['inspect'], standalone_mode=False); "
        "print(os.environ['OPENBLAS_NUM_THREADS'], len(os.listdir('/proc/self/task')))"
    )
    environment = {key: value for key, value in os.environ.items() if key != "OPENBLAS_NUM_THREADS"}
    environment |= {} if requested is None else {"OPENBLAS_NUM_THREADS": requested}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    setting, threads = done.stdout.splitlines()[-1].split()
    assert setting == (requested or "1")
    assert int(threads) == min(int(setting), len(os.sched_getaffinity(0))), done.stderr
