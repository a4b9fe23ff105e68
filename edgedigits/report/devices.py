"""The results of several devices: which files belong to one device, and what each device is called."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgedigits.benchmark.result import BenchmarkReport
from edgedigits.parity.result import ParityReport
from edgedigits.report.loading import load_benchmark, load_parity, load_result

# The words of a file's name that say what kind of result it is, not where it comes from.
_KINDS = re.compile(r"[-_. ]*(benchmark|bench|parity|results?)[-_. ]*", re.IGNORECASE)


@dataclass(frozen=True)
class Device:
    """What is known of one device; ``path`` is one of its files."""

    label: str
    benchmark: BenchmarkReport | None = None
    parity: ParityReport | None = None
    path: Path | None = None

    @property
    def host(self) -> str | None:
        """The device's host name, from either file."""
        benchmark = self.benchmark.machine["host"] if self.benchmark else None
        return benchmark or (self.parity.host if self.parity else None)

    @property
    def name_part(self) -> str:
        """The part of the file's name that tells it apart: ``pi4`` of ``bench-pi4.json``, none of ``bench.json``."""
        return _KINDS.sub("", self.path.stem) if self.path else ""

    @property
    def folder(self) -> Path | None:
        """The folder of the file."""
        return self.path.absolute().parent if self.path else None


def load_devices(files: Sequence[tuple[str, Path | None, Path | None]]) -> list[Device]:
    """Load a device for each (label, benchmark file, parity file); InputError for a file that is neither."""
    devices = []
    for label, benchmark, parity in files:
        loaded = load_benchmark(benchmark) if benchmark else None, load_parity(parity) if parity else None
        devices.append(Device(label, *loaded, benchmark or parity))
    return _with_unique_labels(devices)


def find_devices(paths: Sequence[Path]) -> tuple[list[Device], list[str]]:
    """Load result files and find which ones belong to one device; also returns remarks about them.

    A single benchmark and a single parity run belong together. Otherwise they do if their names differ only in the kind
    of result, in one folder (``pi4/bench.json``, ``pi4/parity.json``) or not (``bench-pi4.json``), or by the host name
    if that is the only parity run left of this host. Files of different hosts never belong together.
    """
    remarks: list[str] = []
    found: dict[Path, Device] = {}
    for path in paths:
        device = Device("", *load_result(path), path)
        same = next((p for p, d in found.items() if (d.benchmark, d.parity) == (device.benchmark, device.parity)), None)
        if same is None:
            found[path] = device
        elif not (device.benchmark and device.parity):  # which may be given once for each
            remarks.append(f"{path} is the same result as {same}; it is shown once")
    devices = [device for device in found.values() if device.benchmark]
    runs = [device for device in found.values() if not device.benchmark]
    if len(devices) == len(runs) == 1 and not devices[0].parity:
        devices, runs = [replace(devices[0], parity=runs[0].parity)], []
    for belongs in (_in_one_folder, _named_alike):
        for run in list(runs):
            matching = [n for n, device in enumerate(devices) if not device.parity and belongs(device, run)]
            if len(matching) == 1 and not _of_different_hosts(devices[matching[0]], run):
                devices[matching[0]] = replace(devices[matching[0]], parity=run.parity)
                runs.remove(run)
    for run in [run for run in runs if run.host and [other.host for other in runs].count(run.host) == 1]:
        matching = [n for n, device in enumerate(devices) if not device.parity and device.host == run.host]
        for n in matching:  # the same files in the same runtimes give the same logits, which the report checks
            devices[n] = replace(devices[n], parity=run.parity)
        if matching:
            runs.remove(run)
    if devices:
        remarks += [
            f"{run.path}: no benchmark belongs to it; give both files of a device the same folder, or names such as "
            "bench-pi4.json and parity-pi4.json"
            for run in runs
        ]
    return _with_unique_labels([replace(device, label=_name(device)) for device in devices + runs]), remarks


def _in_one_folder(device: Device, run: Device) -> bool:
    return (device.folder, device.name_part) == (run.folder, run.name_part)


def _named_alike(device: Device, run: Device) -> bool:
    return device.name_part == run.name_part != ""


def _of_different_hosts(device: Device, run: Device) -> bool:
    return None not in (device.host, run.host) and device.host != run.host


def _name(device: Device) -> str:
    """The host, or else the model, or else what the file's name and folder say."""
    model = device.benchmark.machine["model"] if device.benchmark else None
    return device.host or model or device.name_part or _folder_name(device) or "device"


def _folder_name(device: Device) -> str:
    return device.folder.name if device.folder else ""


def _stem(device: Device) -> str:
    return device.path.stem if device.path else ""


def _with_unique_labels(devices: list[Device]) -> list[Device]:
    """Add to each label that occurs more than once what tells the files apart, or else a number."""
    unique = list(devices)
    for label in {device.label for device in devices}:
        places = [n for n, device in enumerate(devices) if device.label == label]
        if len(places) == 1:
            continue
        parts: list[Callable[[Device], str]] = [lambda device: device.name_part, _folder_name, _stem]
        known = [[part(devices[n]) for n in places] for part in parts]
        numbers = [str(number + 1) for number in range(len(places))]
        chosen = next((k for k in known if all(k) and len(set(k)) == len(k)), numbers)
        for n, part in zip(places, chosen, strict=True):
            unique[n] = replace(devices[n], label=f"{label} ({part})")
    return unique
