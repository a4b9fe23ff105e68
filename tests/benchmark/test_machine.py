from __future__ import annotations

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

import pytest

import edgedigits
from edgedigits.benchmark.machine import Throttling, conditions, describe, invalid, threats, throttling
from edgedigits.runtimes.table import RUNTIMES

FACTS = describe()
PI = {
    "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
    "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd asimddp\n\nprocessor\t: 1\nFeatures\t: none\n",
    "proc/loadavg": "1.25 0.50 0.10 1/100 999\n",
    "proc/meminfo": "MemTotal:        1000 kB\nMemFree:          10 kB\n",
    "etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1500000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
    "sys/class/thermal/thermal_zone0/temp": "48312\n",
    "sys/class/power_supply/battery/type": "Battery\n",
    "sys/class/power_supply/battery/status": "Discharging\n",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "throttled=0x50005\n",
}


@pytest.fixture
def pi(tmp_path: Path) -> Path:
    """The files from which a Raspberry Pi tells of itself."""
    for name, text in PI.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_this_machine() -> None:
    assert FACTS["cores"] == os.cpu_count()
    assert FACTS["architecture"] == platform.machine()
    assert FACTS["kernel"] == platform.release()
    assert FACTS["memory_bytes"] > 2**26
    assert platform.python_version() in FACTS["python"]


def test_versions() -> None:
    assert FACTS["packages"]["edgedigits"] == edgedigits.__version__
    assert FACTS["packages"]["numpy"] == version("numpy")
    assert {info.distribution for info in RUNTIMES.values()} <= set(FACTS["packages"])


def test_nothing_is_an_empty_text_and_all_of_it_is_json() -> None:
    assert "" not in FACTS.values()
    assert json.loads(json.dumps(FACTS, allow_nan=False)) == FACTS


def test_a_raspberry_pi(pi: Path) -> None:
    found = describe(pi)
    assert found["model"] == found["cpu"] == "Raspberry Pi 4 Model B Rev 1.4"
    assert found["cpu_features"] == ["asimd", "asimddp"]
    assert found["governor"] == "ondemand"
    assert found["memory_bytes"] == 1_024_000
    assert found["os"] == "Debian GNU/Linux 12 (bookworm)"
    assert found["on_battery"] is True
    expected = {"frequency_khz": 1_500_000, "temperature_millicelsius": 48_312, "load_1min": 1.25}
    assert conditions(pi) == expected
    assert found.items() >= expected.items()


def test_what_cannot_be_read_is_none(tmp_path: Path) -> None:
    found = describe(tmp_path)
    for key in ("model", "cpu", "cpu_features", "frequency_khz", "temperature_millicelsius", "load_1min", "governor",
                "memory_bytes", "os", "container", "on_battery"):  # fmt: skip
        assert found[key] is None, key
    assert throttling(tmp_path) == Throttling(None)


def test_a_number_that_is_none(pi: Path) -> None:
    (pi / "sys/class/thermal/thermal_zone0/temp").write_text("no sensor\n")
    assert conditions(pi)["temperature_millicelsius"] is None


def test_throttling_bits(pi: Path) -> None:
    found = throttling(pi)
    assert found.raw == 0x50005
    assert found.now == ("under-voltage", "throttled")
    assert found.since_boot == ("under-voltage", "throttled")
    assert throttling(pi).to_json()["now"] == ["under-voltage", "throttled"]


@pytest.mark.parametrize("text", ["", "throttled=", "VCHI initialization failed"])
def test_throttling_that_cannot_be_read(pi: Path, text: str) -> None:
    (pi / "sys/devices/platform/soc/soc:firmware/get_throttled").write_text(text)
    assert throttling(pi) == Throttling(None)


@pytest.mark.parametrize(
    ("raws", "said"),
    [
        ([0, 0], None),
        ([None, None], None),
        ([0x50000, 0x50000], None),  # long ago
        ([0, 0x4, 0], "throttled"),
        ([0, 0x20000], "frequency capped"),  # between two readings
        ([0x1, 0x10001], "under-voltage"),
    ],
)
def test_a_run_is_worth_nothing_if_the_device_was_held_back(raws: list[int | None], said: str | None) -> None:
    found = invalid([Throttling(raw) for raw in raws])
    assert (found is None) if said is None else (found is not None and f"the device was {said} during the run" in found)


def test_threats_each_with_a_remedy(pi: Path) -> None:
    found = threats(describe(pi), throttling(pi))
    assert [threat.what.split()[0:3] for threat in found] == [
        ["the", "frequency", "governor"],
        ["the", "load", "is"],
        ["the", "machine", "runs"],
        ["since", "it", "was"],
    ]
    assert all(threat.remedy for threat in found)


def test_no_threats(pi: Path) -> None:
    quiet = {**describe(pi), "governor": "performance", "load_1min": 0.1, "on_battery": False}
    assert threats(quiet, Throttling(0)) == []
