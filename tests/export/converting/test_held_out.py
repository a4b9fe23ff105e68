"""Held-out inputs: in the bundle, never tuned on, and the only ones that bound what other inputs may do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedigits.bundle.bundle import HELD_OUT, Bundle
from edgedigits.bundle.inspection import examine
from edgedigits.errors import BundleError
from edgedigits.parity.check import check_parity
from edgedigits.system.files import sha256
from edgedigits_export.converting.bundle import export_bundle
from edgedigits_export.training.data import HeldOut


@pytest.fixture(scope="module")
def held_out(small: tuple[Any, Any, Any]) -> HeldOut:
    x = np.random.default_rng(6).normal(size=(60, 7)).astype(np.float32)
    return HeldOut(x, np.asarray(small[0](x)).argmax(axis=1))


@pytest.fixture(scope="module")
def exported(small: tuple[Any, Any, Any], held_out: HeldOut, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A bundle with held-out inputs, and what the export said."""
    out, notes = tmp_path_factory.mktemp("held") / "bundle", list[str]()
    export_bundle(*small, out, name="small", training={}, held_out=lambda: held_out, on_note=notes.append)
    return out, notes


def test_other_held_out_inputs_change_no_artifact(
    small: tuple[Any, Any, Any], held_out: HeldOut, exported: Any, tmp_path: Path
) -> None:
    other = HeldOut(held_out.x[:40] * 9, 2 - held_out.y[:40])
    export_bundle(*small, tmp_path / "other", name="small", training={}, held_out=lambda: other)
    first, second = Bundle(exported[0]), Bundle(tmp_path / "other")
    assert first.manifest.files[HELD_OUT] != second.manifest.files[HELD_OUT]
    assert {name: sha256(first.read(name)) for name in first.names} == {
        name: sha256(second.read(name)) for name in second.names
    }


def test_a_device_proves_on_them_without_the_data(exported: Any, held_out: HeldOut, tmp_path: Path) -> None:
    bundle = Bundle(exported[0])
    found = bundle.held_out()
    assert found is not None
    x, y = found
    np.testing.assert_array_equal(x, held_out.x)
    np.testing.assert_array_equal(y, held_out.y)
    report = check_parity(bundle, runtimes=["numpy"], unseen=tmp_path / "nowhere", batch=60)
    assert report.unseen
    assert report.images == 60
    assert not examine(exported[0]).problems


def test_only_held_out_inputs_bound_the_flips_of_others(exported: Any, tmp_path: Path) -> None:
    bundle = Bundle(exported[0])
    tuned_on = check_parity(bundle, runtimes=["numpy"], kernels=["exact"], batch=200)
    held = check_parity(bundle, runtimes=["numpy"], kernels=["exact"], unseen=tmp_path, batch=60)
    assert [row.flip_rate_upper_95 for row in tuned_on.rows if row.min_lead_quanta is not None] == [None, None]
    bound, _ = [row.flip_rate_upper_95 for row in held.rows if row.min_lead_quanta is not None]
    assert bound is not None
    assert 0.01 < bound < 0.2


def test_the_export_shows_the_accuracy_before_it_converts_and_the_bound_after(exported: Any) -> None:
    first, *_, last = exported[1]
    assert first == "Keras predicts 200 of 200 labels (100.00%)"
    assert "of 60 held-out predictions changed, at most " in last
    assert "accuracy " in last


def test_held_out_inputs_without_their_outputs_are_refused(exported: Any, bundle_copy: Path) -> None:
    """The packaged bundle's outputs are those of 5000 other digits."""
    import json

    content = (exported[0] / HELD_OUT).read_bytes()
    (bundle_copy / HELD_OUT).write_bytes(content)
    facts = json.loads((bundle_copy / "manifest.json").read_text())
    facts["files"][HELD_OUT] = sha256(content)
    (bundle_copy / "manifest.json").write_text(json.dumps(facts))
    with pytest.raises(BundleError, match=r"held_out.npz does not hold X, y"):
        Bundle(bundle_copy).held_out()
