"""Kits: made, refused where they must be, and installed for real on this machine, without a network."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgedigits.bundle import Bundle
from edgedigits.errors import BundleError, EdgeDigitsError, InputError
from edgedigits.kit import debian
from edgedigits.kit.make import Kit, kit_text, make_kit
from edgedigits.kit.pip import NoWheelError, download, glibc_needed
from edgedigits.kit.targets import TARGETS, choose_runtime, parse_python
from edgedigits.signing import load_private, make_keys, sign_bundle

PYTHON = "{}.{}".format(*sys.version_info[:2])
# Not the virtual environment's: a device has nothing but Python.
BARE_PYTHON = Path(sys.base_prefix) / "bin" / f"python{PYTHON}"
OFFLINE = {
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_INDEX_URL": "http://127.0.0.1:9/simple",  # the discard service: nobody answers
    "PIP_EXTRA_INDEX_URL": "",
    "PIP_FIND_LINKS": "",
    "PIP_NO_CACHE_DIR": "1",
}
# A namespace of its own has no network; for an ordinary user that takes another one, which not all systems give.
NAMESPACES = (["unshare", "--net"], ["unshare", "--user", "--map-root-user", "--net"])
APART = next((n for n in NAMESPACES if shutil.which(n[0]) and not subprocess.run([*n, "true"]).returncode), [])
Run = Callable[..., subprocess.CompletedProcess[str]]
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kits are made and installed on Linux")


def make(folder: Path, target: str, **options: Any) -> Kit:
    """A kit; without a network the test is skipped, but not where the gate runs."""
    try:
        return make_kit(target, folder / "kit.zip", **options)
    except EdgeDigitsError as error:
        if "cannot reach" in str(error) and os.environ.get("CI") != "true":
            pytest.skip(f"making a kit needs a network: {error}")
        raise


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """A kit for this machine, with LiteRT."""
    return make(tmp_path_factory.mktemp("made"), "linux-64", python=PYTHON, runtime="litert")


@pytest.fixture(scope="session")
def arm_kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """A kit for a 64-bit Raspberry Pi, with tflite-runtime."""
    return make(tmp_path_factory.mktemp("arm"), "pi-64", runtime="tflite-runtime")


def read(kit: Kit) -> dict[str, bytes]:
    with zipfile.ZipFile(kit.path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@dataclass(frozen=True)
class Device:
    """An unpacked kit, and an empty place to install it to."""

    kit: Path
    home: Path

    def install(
        self, *options: str, python: Path = BARE_PYTHON, preexec_fn: Callable[[], object] | None = None
    ) -> subprocess.CompletedProcess[str]:
        command = ["sh", str(self.kit / "install.sh"), "--python", str(python), *options]
        return self.offline(*command, preexec_fn=preexec_fn)

    def offline(
        self, *command: str, preexec_fn: Callable[[], object] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run without a network where the system allows that, in any case without a proxy and without what we have."""
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.home)}
        return subprocess.run(
            [*APART, *command], capture_output=True, text=True, cwd=self.home, env=environment, preexec_fn=preexec_fn
        )

    def change(self, name: str, content: bytes, *, listed: bool = False) -> None:
        """Give a file of the kit other content; with ``listed`` its checksum too, as if the kit had been made so."""
        old = hashlib.sha256((self.kit / name).read_bytes()).hexdigest()
        (self.kit / name).unlink()  # it is a link to the one that all tests share
        (self.kit / name).write_bytes(content)
        if listed:
            sums = (self.kit / "SHA256SUMS").read_text().replace(old, hashlib.sha256(content).hexdigest())
            (self.kit / "SHA256SUMS").unlink()
            (self.kit / "SHA256SUMS").write_text(sums)

    def amend(self, key: str, value: str) -> None:
        """Make the kit say something else of itself."""
        lines = (self.kit / "kit.conf").read_text().splitlines()
        changed = [f"{key}='{value}'" if line.startswith(f"{key}=") else line for line in lines]
        assert changed != lines
        self.change("kit.conf", ("\n".join(changed) + "\n").encode(), listed=True)

    @property
    def written(self) -> list[str]:
        """What stands where it installs to."""
        return sorted(path.name for path in self.home.iterdir())


@pytest.fixture(scope="session")
def unpacked(kit: Kit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    subprocess.run([str(BARE_PYTHON), "-m", "zipfile", "-e", kit.path, str(folder)], check=True)
    return folder


def device_with(unpacked: Path, tmp_path: Path) -> Device:
    shutil.copytree(unpacked, tmp_path / "kit", copy_function=os.link)
    (tmp_path / "home").mkdir()
    return Device(tmp_path / "kit", tmp_path / "home")


@pytest.fixture
def device(unpacked: Path, tmp_path: Path) -> Device:
    return device_with(unpacked, tmp_path)


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that says why."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("install.sh: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


# --- what is in it ---------------------------------------------------------------------------------------------------


def test_a_kit_holds_all_that_a_device_needs(kit: Kit) -> None:
    names = set(read(kit))
    bundle = {f"bundle/{name}" for name in ("manifest.json", *Bundle().names, *Bundle().manifest.files)}
    assert names >= bundle | {"install.sh", "kit.conf", "SHA256SUMS", "wheels/edgedigits-0.1.0-py3-none-any.whl"}
    wheels = {name.partition("/")[2].partition("-")[0] for name in names if name.startswith("wheels/")}
    assert wheels >= {"edgedigits", "ai_edge_litert", "numpy", "pillow", "click", "flatbuffers"}
    assert not wheels & {"tensorflow", "onnxruntime", "tflite_runtime"}
    assert kit.needs == ()


def test_every_wheel_is_for_the_target(arm_kit: Kit) -> None:
    wheels = [name for name in read(arm_kit) if name.endswith(".whl")]
    assert all(name.endswith(("_aarch64.whl", "-any.whl")) for name in wheels)
    assert sum("-cp311-" in name for name in wheels) >= 2
    assert any(name.startswith("wheels/numpy-1.") for name in wheels)  # tflite-runtime knows no other


@pytest.mark.parametrize("made", ["kit", "arm_kit"])
def test_the_checksums_cover_every_other_file(made: str, request: pytest.FixtureRequest) -> None:
    kit: Kit = request.getfixturevalue(made)
    inside = read(kit)
    sums = inside.pop("SHA256SUMS").decode()
    assert sums == "".join(f"{hashlib.sha256(inside[name]).hexdigest()}  {name}\n" for name in sorted(inside))
    assert {file.name: file.bytes for file in kit.files} == {name: len(content) for name, content in inside.items()}
    assert kit.sha256 == hashlib.sha256(Path(kit.path).read_bytes()).hexdigest()


def test_sizes(kit: Kit, arm_kit: Kit, tmp_path: Path) -> None:
    assert kit.bytes == Path(kit.path).stat().st_size < 60_000_000
    assert arm_kit.bytes < 40_000_000
    assert make(tmp_path, "pi-64", runtime="litert").bytes < 60_000_000


def test_our_wheel_is_a_wheel_without_the_workstation(kit: Kit) -> None:
    (own,) = (name for name in read(kit) if name.startswith("wheels/edgedigits-"))
    with zipfile.ZipFile(kit.path) as outer, outer.open(own) as stream, zipfile.ZipFile(stream) as wheel:
        inside = {name: wheel.read(name) for name in wheel.namelist()}
    info = "edgedigits-0.1.0.dist-info"
    recorded = [line.split(",") for line in inside[f"{info}/RECORD"].decode().splitlines()]
    hashes = {name: base64.urlsafe_b64encode(hashlib.sha256(c).digest()).decode() for name, c in inside.items()}
    listed = sorted(name for name in inside if "RECORD" not in name)
    expected = [[name, f"sha256={hashes[name].rstrip('=')}", str(len(inside[name]))] for name in listed]
    assert recorded == [*expected, [f"{info}/RECORD", "", ""]]
    assert {name.partition("/")[0] for name in inside} == {"edgedigits", info}
    assert inside[f"{info}/entry_points.txt"] == b"[console_scripts]\nedgedigits = edgedigits.cli:main\n"
    assert b"\nVersion: 0.1.0\n" in inside[f"{info}/METADATA"]
    assert f"{info}/licenses/LICENSE" in inside
    assert {"edgedigits/models/README.md", "edgedigits/report.css", "edgedigits/kit/install.sh"} <= set(inside)
    assert not [name for name in inside if "__pycache__" in name or name.startswith("edgedigits/models/notebook")]
    assert "edgedigits/models/robust/manifest.json" in inside


def test_the_same_kit_has_the_same_bytes(kit: Kit, tmp_path: Path) -> None:
    assert make(tmp_path, "linux-64", python=PYTHON, runtime="litert").sha256 == kit.sha256


def test_a_bundle_of_ones_own(bundle_copy: Path, tmp_path: Path) -> None:
    manifest = json.loads((bundle_copy / "manifest.json").read_text())
    manifest["name"] = "mine"
    manifest["artifacts"] = [a for a in manifest["artifacts"] if a["file"] == "int8.tflite"]
    (bundle_copy / "manifest.json").write_text(json.dumps(manifest))
    _, public, _ = make_keys(tmp_path / "mine")
    sign_bundle(Bundle(bundle_copy), load_private(tmp_path / "mine.key", lambda: ""))
    made = make(tmp_path, "linux-64", python=PYTHON, runtime="numpy", bundle=Bundle(bundle_copy))
    inside = {name: content for name, content in read(made).items() if name.startswith("bundle/")}
    names = ("int8.tflite", "manifest.json", "manifest.sig", "inputs.npz", "golden.npz")
    assert set(inside) == {f"bundle/{name}" for name in names}
    (tmp_path / "bundle_of_kit").mkdir()
    for name in names:
        (tmp_path / "bundle_of_kit" / name).write_bytes(inside[f"bundle/{name}"])
    Bundle(tmp_path / "bundle_of_kit", signed_by=[public]).verify()  # it is signed on the device too
    assert made.bundle == "mine"
    with zipfile.ZipFile(io.BytesIO(read(made)["wheels/edgedigits-0.1.0-py3-none-any.whl"])) as wheel:
        models = [name for name in wheel.namelist() if name.startswith("edgedigits/models/")]
    assert models == ["edgedigits/models/README.md"]  # so that nothing else is taken for the bundle to read by
    assert "bundle mine" in kit_text(made)


# --- on a device -----------------------------------------------------------------------------------------------------


def test_it_installs_and_proves_itself_without_a_network(device: Device) -> None:
    """As a user does, with a bare Python and an empty home; then everything again over the first installation."""
    for _ in range(2):
        done = device.install()
        assert done.returncode == 0, done.stderr
        assert "X[1015]: 2 " in done.stdout
        assert device.written == ["edgedigits"]
    program = str(device.home / "edgedigits" / "bin" / "edgedigits")
    parity = device.offline(program, "parity", "--json", "-")
    rows = json.loads(parity.stdout)["rows"]
    assert parity.returncode == 0, parity.stderr
    assert {row["runtime"] for row in rows if row["status"] == "ok"} == {"litert", "numpy"}
    assert {row["runtime"] for row in rows if row["status"] == "missing"} >= {"tflite-runtime", "tensorflow"}
    assert [row["mismatches"] for row in rows if row["status"] == "ok"] == [0] * 11


def test_the_installation_may_move_and_be_linked_to(device: Device) -> None:
    odd = device.home / "it's a place"
    odd.mkdir()
    (odd / "python3").symlink_to(BARE_PYTHON)
    assert device.install("--prefix", "it's a place/one", python=odd / "python3").returncode == 0
    (odd / "one").rename(device.home / "two")
    (device.home / "short").symlink_to("two/bin/edgedigits")
    if sys.version_info >= (3, 11):  # since then Python can be told not to look into the folder it runs in
        (device.home / "numpy.py").write_text("raise SystemExit('a file of the folder it runs in')")
    done = device.offline("./short", "predict", "--index", "3", "--json", "-")
    assert [found["digit"] for found in json.loads(done.stdout)] == [0], done.stderr


# One of each kind; a kit has nothing else.
KINDS = ("install.sh", "kit.conf", "SHA256SUMS", "bundle/manifest.json", "bundle/int8.tflite", "bundle/golden.npz")


@pytest.mark.parametrize("name", [*KINDS, "wheels/edgedigits*", "wheels/numpy*", "wheels/ai_edge_litert*"])
@pytest.mark.parametrize("where", [0.0, 0.5, 1.0], ids=["first", "middle", "last"])
def test_one_changed_byte_is_refused(name: str, where: float, device: Device) -> None:
    (path,) = device.kit.glob(name)
    content = bytearray(path.read_bytes())
    content[round(where * (len(content) - 1))] ^= 1
    device.change(str(path.relative_to(device.kit)), bytes(content))
    done = device.install()
    assert done.returncode == 2, done.stdout
    assert done.stderr
    assert device.written == []
    if name not in ("install.sh", "SHA256SUMS"):
        assert f"this kit is damaged: {path.relative_to(device.kit)}; copy it again" in done.stderr


@pytest.mark.parametrize("damage", ["upper case", "two spaces are one and a star", "no list", "empty list"])
def test_a_changed_list_is_refused(damage: str, device: Device) -> None:
    """Also where sha256sum itself would not mind."""
    sums = (device.kit / "SHA256SUMS").read_text()
    if damage == "no list":
        (device.kit / "SHA256SUMS").unlink()
    else:
        letter = next(i for i, c in enumerate(sums) if c in "abcdef")
        changed = {
            "upper case": sums[:letter] + sums[letter].upper() + sums[letter + 1 :],
            "two spaces are one and a star": sums.replace("  ", " *", 1),
            "empty list": "",
        }[damage]
        device.change("SHA256SUMS", changed.encode())
    assert "SHA256SUMS" in refused(device.install()) or damage == "empty list"
    assert device.written == []


def test_a_missing_file_is_refused(device: Device) -> None:
    (device.kit / "bundle" / "int8.tflite").unlink()
    assert "this kit is damaged: bundle/int8.tflite; copy it again" in refused(device.install())
    assert device.written == []


def test_a_kit_for_another_processor_says_so_before_it_writes(arm_kit: Kit, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "zipfile", "-e", arm_kit.path, str(tmp_path / "unpacked")], check=True)
    device = device_with(tmp_path / "unpacked", tmp_path)
    said = refused(device.install())
    assert "this kit is for 64-bit ARM (aarch64) with Python 3.11; this machine is x86_64 with Python" in said
    assert device.written == []


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("suffix", ".cpython-38-x86_64-linux-gnu.so", f"this machine is x86_64 with Python {PYTHON} (cpython-"),
        ("machines", "riscv64", "this machine is x86_64"),
        ("glibc", "9.10", "this kit needs glibc 9.10, this machine has 2."),
        ("need_kb", "999999999999", "the installation takes 976562499 MB, but "),
        ("modules", "no_such=python3-no-such", "no_such; sudo apt install python3-no-such"),
    ],
)
def test_a_machine_that_will_not_do_is_told_before_anything_is_written(
    key: str, value: str, message: str, device: Device
) -> None:
    device.amend(key, value)
    assert message in refused(device.install())
    assert device.written == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--prefix",), "--prefix needs a value"),
        (("--prefix", ""), "--prefix needs a value"),
        (("--user",), "--user is not known; expected: sh install.sh"),
        (("--prefix", "no/such"), "the folder of "),
        (("--prefix", "a:b"), "has a colon"),
        (("--python", "no-such-python"), "there is no no-such-python"),
        (("--prefix", "/proc/edgedigits"), "but 0 MB are free in /proc; free some, or choose another --prefix"),
    ],
)
def test_bad_options_of_install_sh(options: tuple[str, ...], message: str, device: Device) -> None:
    assert message in refused(device.install(*options))
    assert device.written == []


def test_a_place_that_cannot_be_written(device: Device) -> None:
    device.amend("need_kb", "0")
    assert "cannot write to /proc; choose another --prefix" in refused(device.install("--prefix", "/proc/edgedigits"))


def test_what_is_not_an_installation_is_never_replaced(device: Device) -> None:
    own = device.home / "edgedigits"
    own.mkdir()
    (own / "thesis.txt").write_text("years of work")
    assert "holds thesis.txt, which is not of an earlier installation" in refused(device.install())
    (device.home / "file").write_text("")
    assert "is a file" in refused(device.install("--prefix", "file"))
    assert (own / "thesis.txt").read_text() == "years of work"
    assert device.written == ["edgedigits", "file"]


def an_earlier_installation(device: Device) -> None:
    (device.home / "edgedigits" / "bin").mkdir(parents=True)
    (device.home / "edgedigits" / "bin" / "edgedigits").write_text("the earlier one")


def the_earlier_one_stands(device: Device) -> bool:
    untouched = (device.home / "edgedigits" / "bin" / "edgedigits").read_text() == "the earlier one"
    return untouched and device.written == ["edgedigits"]


def test_an_installation_that_answers_wrongly_does_not_take_the_place(device: Device) -> None:
    an_earlier_installation(device)
    device.amend("expected", "X[1015]: 7 ")
    assert "the installed model answers otherwise than the trained one: X[1015]: 2 " in refused(device.install())
    assert the_earlier_one_stands(device)


def test_a_disk_that_fills_up_on_the_way(device: Device) -> None:
    """As far as a test without root can: no file may grow past 10 MB."""
    an_earlier_installation(device)
    limit = 10_000_000
    done = device.install(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    assert "failed: " in refused(done)
    assert the_earlier_one_stands(device)


def heard() -> None:
    """For a child: below a job in the background SIGINT is ignored, and a shell cannot change that."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP"])
def test_interrupted_while_it_unpacks(name: str, device: Device, tmp_path: Path) -> None:
    an_earlier_installation(device)
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\ncase "$*" in *numpy*) kill -{name} $PPID ;; esac\nexec {BARE_PYTHON} "$@"\n')
    python.chmod(0o755)
    assert device.install(python=python, preexec_fn=heard).returncode in (130, 143)
    assert the_earlier_one_stands(device)


# --- what cannot be made ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--target", "pi-5"), "no target is called 'pi-5'; choose one of pi-64, pi-32, linux-64"),
        (("--target", "pi-64", "--python", "3"), "--python 3: not a version of Python; expected such as 3.11"),
        (("--target", "pi-64", "--python", "3.x"), "--python 3.x: not a version"),
        (("--target", "pi-64", "--python", "3.9"), "edgedigits needs Python 3.10 or newer"),
        (("--target", "pi-64", "--python", "3.13", "--runtime", "tflite-runtime"), "Python 3.8 to 3.11, not 3.13; "),
        (("--target", "pi-32", "--runtime", "litert"), "make the kit with --runtime tflite-runtime or numpy"),
        (("--target", "pi-64", "--runtime", "tensorflow"), "a kit has no runtime 'tensorflow'; choose one of litert"),
        (("no/such/bundle", "--target", "pi-64"), "no/such/bundle: no such bundle"),
        (("--target", "pi-64", "-o", "."), ". is a folder; expected a file to write"),
        (("--target", "pi-64", "-o", "/proc/kit.zip"), "cannot write /proc/kit.zip"),
    ],
)
def test_what_cannot_be_made_is_told_in_one_line(arguments: tuple[str, ...], message: str, edgedigits: Run) -> None:
    done = edgedigits("kit", *arguments, env={**os.environ, **OFFLINE})  # and before anything is fetched
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.fixture
def temporary(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment with a temporary folder of its own, which must be empty in the end."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    yield {**os.environ, "TMPDIR": str(folder)}
    assert list(folder.iterdir()) == []


def test_no_network(edgedigits: Run, temporary: dict[str, str], tmp_path: Path) -> None:
    done = edgedigits("kit", "--target", "pi-64", "-o", tmp_path / "out" / "kit.zip", env={**temporary, **OFFLINE})
    assert done.returncode == 2
    assert "pip cannot reach its index (Failed to establish a new connection: [Errno 111] " in done.stderr
    assert done.stderr.count("\n") == 1
    assert list((tmp_path / "out").iterdir()) == []


def test_no_pip(edgedigits: Run, hidden: Callable[..., dict[str, str]]) -> None:
    done = edgedigits("kit", "--target", "pi-64", env=hidden("pip"))
    assert done.returncode == 2
    assert (
        done.stderr
        == "edgedigits: making a kit needs pip, which this Python lacks; `python -m ensurepip`, then again\n"
    )


def test_a_python_for_which_there_is_no_wheel(edgedigits: Run, kit: Kit) -> None:
    """What the table of wheels says nothing about is asked of the index."""
    done = edgedigits("kit", "--target", "pi-64", "--python", "3.99")
    assert done.returncode == 2
    assert "has no wheel for Python 3.99 on aarch64; choose another --python or --runtime" in done.stderr


def test_a_damaged_bundle(bundle_copy: Path, tmp_path: Path) -> None:
    (bundle_copy / "golden.npz").write_bytes(b"no arrays")
    with pytest.raises(BundleError, match=r"golden\.npz is damaged"):
        make_kit("linux-64", tmp_path / "kit.zip", bundle=Bundle(bundle_copy))
    assert not (tmp_path / "kit.zip").exists()


def test_a_bundle_that_the_runtime_does_not_open(bundle_copy: Path, tmp_path: Path) -> None:
    manifest = json.loads((bundle_copy / "manifest.json").read_text())
    manifest["artifacts"] = [a for a in manifest["artifacts"] if a["file"] == "float32.onnx"]
    (bundle_copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"litert opens none of float32\.onnx; choose another --runtime or bundle"):
        make_kit("linux-64", tmp_path / "kit.zip", bundle=Bundle(bundle_copy))


@pytest.mark.parametrize("full", ["out", "tmp"])
def test_a_full_disk_while_it_is_made(full: str, kit: Kit, temporary: dict[str, str], tmp_path: Path) -> None:
    """A disk of 8 MB, for the kit or for what is fetched: one line, and nothing is left on it."""
    (tmp_path / "out").mkdir()
    apart = ["unshare", "--user", "--map-root-user", "--mount"]
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(tmp_path / full)]
    if not shutil.which("unshare") or subprocess.run([*apart, *mount], capture_output=True).returncode:
        pytest.skip("this system lets no ordinary user mount a small disk")
    command = [sys.executable, "-m", "edgedigits", "kit", "--target", "linux-64", "--python", PYTHON]
    script = f'{" ".join(mount)} && "$@"; status=$?; ls -A "{tmp_path / full}"; exit $status'
    line = [*apart, "sh", "-c", script, "sh", *command, "-o", str(tmp_path / "out" / "kit.zip")]
    done = subprocess.run(line, capture_output=True, text=True, env=temporary)
    assert (done.returncode, done.stdout) == (2, "")
    assert "disk" in done.stderr if full == "tmp" else "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list((tmp_path / "out").iterdir()) == []


# --- which runtime, which wheels, which packages ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "python", "runtime"),
    [
        ("pi-64", "3.11", "litert"),
        ("pi-64", "3.13", "litert"),
        ("pi-32", "3.11", "tflite-runtime"),
        ("pi-32", "3.13", "numpy"),
        ("linux-64", "3.10", "litert"),
        ("linux-64", "3.12", "litert"),
    ],
)
def test_the_runtime_where_none_is_named(target: str, python: str, runtime: str) -> None:
    assert choose_runtime(TARGETS[target], parse_python(python), None)[0] == runtime


def test_the_glibc_that_wheels_need() -> None:
    def needed(*tags: str) -> tuple[int, int]:
        return glibc_needed([Path(f"x-1.0-cp311-cp311-{tag}.whl") for tag in tags])

    assert needed("any") == (2, 5)
    assert needed("manylinux_2_34_armv7l") == (2, 34)
    assert needed("manylinux_2_27_aarch64.manylinux_2_28_aarch64") == (2, 27)
    assert needed("manylinux2014_x86_64", "any") == (2, 17)
    assert needed("manylinux_2_5_x86_64.manylinux1_x86_64", "manylinux2010_x86_64") == (2, 12)


def test_a_wheel_for_an_older_glibc_is_found(kit: Kit, tmp_path: Path) -> None:
    """pip does not know by itself that manylinux_2_34 runs on a system of 2.36."""
    download(["tflite-runtime==2.14.0"], TARGETS["pi-32"].platform((3, 11)), tmp_path, dependencies=False)
    assert [path.name for path in tmp_path.iterdir()] == ["tflite_runtime-2.14.0-cp311-cp311-manylinux_2_34_armv7l.whl"]
    with pytest.raises(NoWheelError, match=r"tflite-runtime==2\.14\.0 has no wheel for Python 3\.13 on armv7l"):
        download(["tflite-runtime==2.14.0"], TARGETS["pi-32"].platform((3, 13)), tmp_path, dependencies=False)


@pytest.mark.skipif(debian.why_not() is not None, reason=f"{debian.why_not()}")
@pytest.mark.parametrize(("python", "runtime"), [("3.11", "tflite_runtime"), ("3.13", None)])
def test_a_32_bit_pi_gets_numpy_from_debian(
    python: str, runtime: str | None, temporary: dict[str, str], kit: Kit, tmp_path: Path
) -> None:
    made = make(tmp_path, "pi-32", python=python)
    names = list(read(made))
    packages = {name.partition("/")[2].partition("_")[0] for name in names if name.startswith("debian/")}
    assert packages >= {"python3-numpy", "python3-pil", "libblas3", "liblapack3", "libgfortran5"}
    assert not packages & {"libc6", "libstdc++6", "python3", "python3-minimal", "perl-base", "dpkg"}
    assert all(name.endswith(("_armhf.deb", "_all.deb")) for name in names if name.startswith("debian/"))
    assert not [name for name in names if name.startswith(("wheels/numpy", "wheels/pillow"))]
    assert any(name.startswith(f"wheels/{runtime}") for name in names) == (runtime is not None)
    assert made.bytes < 40_000_000
    assert made.needs == ()


def test_without_apt_the_kit_says_what_the_pi_must_have(
    kit: Kit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    made = make(tmp_path, "pi-32")
    assert made.needs == ("python3-numpy", "python3-pil")
    assert "sudo apt install python3-numpy python3-pil" in kit_text(made)
    assert b"modules=numpy=python3-numpy\n" in read(made)["kit.conf"]
    assert not [name for name in read(made) if name.endswith(".deb")]
