"""Kits, made once per session, and an empty device for each test."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from kits import BARE_PYTHON, PYTHON, Device, device_with, make

from edgedigits.kit.make import Kit


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """A kit for this machine, with LiteRT."""
    return make(tmp_path_factory.mktemp("made"), "linux-64", python=PYTHON, runtime="litert")


@pytest.fixture(scope="session")
def arm_kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """A kit for a 64-bit Raspberry Pi, with tflite-runtime."""
    return make(tmp_path_factory.mktemp("arm"), "pi-64", runtime="tflite-runtime")


@pytest.fixture(scope="session")
def unpacked(kit: Kit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    subprocess.run([str(BARE_PYTHON), "-m", "zipfile", "-e", kit.path, str(folder)], check=True)
    return folder


@pytest.fixture
def device(unpacked: Path, tmp_path: Path) -> Device:
    return device_with(unpacked, tmp_path)


@pytest.fixture
def temporary(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment with a temporary folder of its own, which must be empty at the end."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    yield {**os.environ, "TMPDIR": str(folder)}
    assert list(folder.iterdir()) == []
