"""Whose rounding a row has, from the probes in the packaged bundles."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedigits.bundle.bundle import Bundle
from edgedigits.bundle.probes import KERNELS, PROBES, Probes
from edgedigits.errors import BundleError
from edgedigits.parity.check import NO_PROBES, check_parity, list_flips
from edgedigits.parity.result import kernel_text
from edgedigits.parity.text import parity_text
from edgedigits.runtimes.session import Session
from edgedigits.runtimes.tensors import FloatArray
from edgedigits.system.text import count

FILES = ("int8.tflite", "int8_full.tflite")
OURS: dict[str, Any] = {"artifacts": FILES[:1], "runtimes": ["numpy"], "kernels": ["xnnpack"], "batch": 5000}


@pytest.fixture(scope="module")
def probes() -> Probes:
    found = Bundle().probes()
    assert found is not None
    return found


def logits(bundle: Bundle, file: str, kernels: str, x: FloatArray) -> FloatArray:
    with Session(bundle.read(file), "tflite", "numpy", kernels=kernels) as session:
        return session.run(x)


@pytest.mark.parametrize("name", ["notebook", "robust"])
@pytest.mark.parametrize("file", FILES)
def test_the_probes_separate_the_kernel_sets_in_both_files(name: str, file: str) -> None:
    bundle = Bundle(name)
    probes = bundle.probes()
    assert probes is not None
    assert len(probes.inputs) <= 100
    for kernels in KERNELS:
        found = probes.name_rounding(logits(bundle, file, kernels, probes.x))
        same = [other for other in KERNELS if np.array_equal(probes.logits[other], probes.logits[kernels])]
        assert found == (kernels if same == [kernels] else f"cannot be told: {' or '.join(same)}")
        assert same in ([kernels], ["reference", "ruy"])  # which are the same where no logit is below the zero point


def test_another_rounding_is_described(probes: Probes) -> None:
    found = logits(Bundle(), FILES[0], "exact", probes.x)
    found[3, 4] -= 3 * probes.scales[1]
    size = probes.logits["exact"].size
    expected = f"unknown: 1 of {size} probe logits differ from exact, the nearest, by up to 3 quanta"
    assert probes.name_rounding(found) == expected


def test_sets_that_no_probe_separates(probes: Probes) -> None:
    alike = replace(probes, logits={**probes.logits, "ruy": probes.logits["exact"]})
    found = logits(Bundle(), FILES[0], "exact", probes.x)
    assert alike.name_rounding(found) == "cannot be told: ruy or exact"


def test_how_far_kernels_differ_is_measured_on_this_model() -> None:
    """The leads of this bundle exceed it; where they do not, parity says so, and more images count as near-ties."""
    bundle = Bundle("robust")
    report = check_parity(bundle, artifacts=["int8.tflite"], runtimes=["numpy"], batch=5000)
    content, scale = bundle.read("int8.tflite"), bundle.artifact("int8.tflite").quantum
    found = []
    for kernels in KERNELS:
        with Session(content, "tflite", "numpy", kernels=kernels) as session:
            found.append(session.run(bundle.inputs()[0]) / np.float32(scale or 0))
    quanta = max(np.abs(a - b).max() for a in found for b in found)
    assert {row.kernel_quanta for row in report.rows} == {round(quanta)}
    (line,) = kernel_text(report.rows)
    assert f"its 4 rows: logits differ by up to {count(int(quanta), 'quantum', 'quanta')}, leads by up to " in line
    assert line.endswith("exceeds that")
    close = [replace(row, min_lead_quanta=row.kernel_lead_quanta) for row in report.rows]
    assert kernel_text(close)[0].endswith("does not exceed that, so other kernels may change a prediction")
    assert kernel_text(check_parity(bundle, runtimes=["numpy"], kernels=["exact"], batch=5000).rows) == []


def test_a_near_tie_is_within_what_kernels_differ_by() -> None:
    golden = np.array([[9.0, 0.0], [9.0, 0.0], [9.0, 0.0]], np.float32)
    logits = np.array([[3.0, 0.0], [2.0, 0.0], [0.0, 4.0]], np.float32)
    assert [(flip.image, flip.kind) for flip in list_flips(logits, golden, 1.0)] == [(2, "real")]
    kinds = [(flip.image, flip.kind) for flip in list_flips(logits, golden, 1.0, near=3)]
    assert kinds == [(0, "near-tie"), (1, "near-tie"), (2, "real")]


def test_parity_names_it(bundle_copy: Path) -> None:
    report = check_parity(Bundle(bundle_copy), **OURS)
    assert [row.arithmetic for row in report.rows] == ["xnnpack"]


def test_a_bundle_without_probes_opens_and_says_so(bundle_copy: Path) -> None:
    import json

    path = bundle_copy / "manifest.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    del facts["files"][PROBES]
    path.write_text(json.dumps(facts), encoding="utf-8")
    report = check_parity(Bundle(bundle_copy), **{**OURS, "runtimes": ["litert"], "kernels": ["default"]})
    assert [row.arithmetic for row in report.rows] == [NO_PROBES]
    line = "the rounding cannot be told (the bundle has no probes): int8.tflite in litert (default)"
    assert line in parity_text(report)


@pytest.mark.parametrize("name", ["inputs", "scales", "xnnpack"])
def test_probes_that_do_not_fit_are_refused(
    probes: Probes, name: str, replace_in_bundle: Callable[[str, bytes], Path]
) -> None:
    stream = io.BytesIO()
    np.savez(stream, **{**probes.arrays(), name: probes.arrays()[name][:1]})
    bundle = Bundle(replace_in_bundle(PROBES, stream.getvalue()))
    with pytest.raises(BundleError, match=r"probes\.npz is damaged \(.*; copy the bundle again"):
        bundle.probes()
