from __future__ import annotations

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

import pytest

import edgedigits
from edgedigits.benchmark.machine import Throttling, conditions, describe, find_warnings, throttling, why_invalid
from edgedigits.runtimes.table import RUNTIMES

PI = {
    "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
    "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd asimddp\n\nprocessor\t: 1\nFeatures\t: none\n",
    "proc/loadavg": "1.25 0.50 0.10 1/100 999\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1500000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
    "sys/class/thermal/thermal_zone0/temp": "48312\n",
    "sys/class/power_supply/battery/type": "Battery\n",
    "sys/class/power_supply/battery/status": "Discharging\n",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "throttled=0x50005\n",
}


@pytest.fixture
def pi(tmp_path: Path) -> Path:
    """A root folder with the files in which a Raspberry Pi describes itself."""
    for name, text in PI.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_this_machine() -> None:
    found = describe()
    assert found["cores"] == os.cpu_count()
    assert found["architecture"] == platform.machine()
    assert found["memory_bytes"] > 2**26
    assert platform.python_version() in found["python"]
    assert found["packages"]["edgedigits"] == edgedigits.__version__
    assert found["packages"]["numpy"] == version("numpy")
    assert {info.distribution for info in RUNTIMES.values()} <= set(found["packages"])
    assert "" not in found.values()
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_raspberry_pi(pi: Path) -> None:
    found = describe(pi)
    assert found["model"] == found["cpu"] == "Raspberry Pi 4 Model B Rev 1.4"
    assert found["cpu_features"] == ["asimd", "asimddp"]
    assert found["governor"] == "ondemand"
    assert found["on_battery"] is True
    assert conditions(pi) == {"frequency_khz": 1_500_000, "temperature_millicelsius": 48_312, "load_1min": 1.25}
    (pi / "sys/class/thermal/thermal_zone0/temp").write_text("no sensor\n")
    assert conditions(pi)["temperature_millicelsius"] is None


def test_unreadable_facts_are_none(tmp_path: Path) -> None:
    found = describe(tmp_path)
    for key in ("model", "cpu_features", "frequency_khz", "temperature_millicelsius", "load_1min", "governor",
                "container", "on_battery"):  # fmt: skip
        assert found[key] is None, key
    assert throttling(tmp_path) == Throttling(None)


def test_throttling_bits(pi: Path) -> None:
    names = ["under-voltage", "throttled"]
    assert throttling(pi).to_json() == {"raw": 0x50005, "now": names, "since_boot": names}
    (pi / "sys/devices/platform/soc/soc:firmware/get_throttled").write_text("VCHI initialization failed")
    assert throttling(pi) == Throttling(None)


@pytest.mark.parametrize(
    ("raws", "reason"),
    [
        ([None, None], None),
        ([0x50000, 0x50000], None),  # before the run
        ([0, 0x4, 0], "throttled"),
        ([0, 0x20000], "frequency capped"),  # between two readings
        ([0x1, 0x10001], "under-voltage"),
    ],
)
def test_throttled_run_is_invalid(raws: list[int | None], reason: str | None) -> None:
    found = why_invalid([Throttling(raw) for raw in raws])
    assert (found is None) if reason is None else f"the device was {reason} during the run" in str(found)


def test_warnings(pi: Path) -> None:
    described = describe(pi)
    found = find_warnings(described, throttling(pi))
    expected = ("governor is ondemand", "load is 1.25", "on battery", "been under-voltage and throttled")
    assert all(text in warning.what for text, warning in zip(expected, found, strict=True))
    assert all(warning.remedy for warning in found)
    quiet = {**described, "governor": "performance", "load_1min": 0.1, "on_battery": False}
    assert find_warnings(quiet, Throttling(0)) == []
