"""Which runtime, wheels and Debian packages a kit contains."""

from __future__ import annotations

from pathlib import Path

import pytest
from kits import make, on_linux, read

from edgedigits.kit import debian
from edgedigits.kit.make import Kit, kit_text
from edgedigits.kit.pip import NoWheelError, download, glibc_needed
from edgedigits.kit.targets import TARGETS, choose_runtime, parse_python

pytestmark = on_linux


@pytest.mark.parametrize(
    ("target", "python", "runtime"),
    [
        ("pi-64", "3.13", "litert"),
        ("pi-32", "3.11", "tflite-runtime"),
        ("pi-32", "3.13", "numpy"),
        ("linux-64", "3.10", "litert"),
    ],
)
def test_the_default_runtime(target: str, python: str, runtime: str) -> None:
    assert choose_runtime(TARGETS[target], parse_python(python), None)[0] == runtime


def test_the_glibc_that_wheels_need() -> None:
    def needed(*tags: str) -> tuple[int, int]:
        return glibc_needed([Path(f"x-1.0-cp311-cp311-{tag}.whl") for tag in tags])

    assert needed("any") == (2, 5)
    assert needed("manylinux_2_27_aarch64.manylinux_2_28_aarch64") == (2, 27)
    assert needed("manylinux2014_x86_64", "any") == (2, 17)
    assert needed("manylinux_2_5_x86_64.manylinux1_x86_64", "manylinux2010_x86_64") == (2, 12)


def test_a_wheel_for_an_older_glibc(kit: Kit, tmp_path: Path) -> None:
    """pip does not know that manylinux_2_34 runs on a system with glibc 2.36."""
    download(["tflite-runtime==2.14.0"], TARGETS["pi-32"].platform((3, 11)), tmp_path, dependencies=False)
    assert [path.name for path in tmp_path.iterdir()] == ["tflite_runtime-2.14.0-cp311-cp311-manylinux_2_34_armv7l.whl"]
    with pytest.raises(NoWheelError, match=r"tflite-runtime==2\.14\.0 has no wheel for Python 3\.13 on armv7l"):
        download(["tflite-runtime==2.14.0"], TARGETS["pi-32"].platform((3, 13)), tmp_path, dependencies=False)


@pytest.mark.slow
@pytest.mark.skipif(debian.why_unavailable() is not None, reason=f"{debian.why_unavailable()}")
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


def test_without_apt_the_kit_names_the_packages(kit: Kit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    made = make(tmp_path, "pi-32")
    assert made.needs == ("python3-numpy", "python3-pil")
    assert "sudo apt install python3-numpy python3-pil" in kit_text(made)
    assert b"modules=numpy=python3-numpy\n" in read(made)["kit.conf"]
    assert not [name for name in read(made) if name.endswith(".deb")]
