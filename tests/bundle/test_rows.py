"""One row of the inputs, read alone: the same as in the whole, from one verified block."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedigits.bundle import rows
from edgedigits.bundle.bundle import INPUTS, MANIFEST, Bundle
from edgedigits.errors import BundleError
from edgedigits.runtimes.tensors import FloatArray

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def facts() -> dict[str, Any]:
    return Bundle().manifest.rows


def change(bundle: Path, edit: Change) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    edit(manifest)
    (bundle / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


@pytest.mark.parametrize("index", [0, 1, 99, 100, 1015, 4899, 4999])
def test_the_row_of_the_whole(x: FloatArray, index: int) -> None:
    row = Bundle().input_row(index)
    assert row.dtype == np.float32
    np.testing.assert_array_equal(row, x[index])


@pytest.mark.parametrize("count", [1, 99, 100, 101, 250])
def test_the_last_block_may_be_short(tmp_path: Path, count: int) -> None:
    x = np.random.default_rng(3).random((count, 7), np.float32)
    path = tmp_path / INPUTS
    np.savez(path, X=x, y=np.zeros(count, np.uint8))
    facts = rows.parse(rows.describe(path.read_bytes(), x), count)
    assert len(facts["sha256"]) == -(-count // 100)
    np.testing.assert_array_equal([rows.read(path, facts, index, count) for index in range(count)], x)


def test_only_its_block_is_looked_at(bundle_copy: Path, x: FloatArray, facts: dict[str, Any]) -> None:
    """A byte changed in another block is found by `verify`, and does not matter to this row; one in its own does."""
    content = bytearray((bundle_copy / INPUTS).read_bytes())
    content[facts["offset"] + 1200 * 1600] ^= 1
    (bundle_copy / INPUTS).write_bytes(content)
    bundle = Bundle(bundle_copy)
    for index in (0, 1199, 1300, 4999):
        np.testing.assert_array_equal(bundle.input_row(index), x[index])
    for index in (1200, 1201, 1299):
        with pytest.raises(
            BundleError, match=rf"inputs\.npz is damaged \(.* block with row {index} .*\); copy or export"
        ):
            bundle.input_row(index)
    with pytest.raises(BundleError, match=r"inputs\.npz is damaged"):
        bundle.verify()


def test_a_file_cut_short(bundle_copy: Path, x: FloatArray, facts: dict[str, Any]) -> None:
    content = (bundle_copy / INPUTS).read_bytes()
    (bundle_copy / INPUTS).write_bytes(content[: facts["offset"] + 4950 * 1600])
    bundle = Bundle(bundle_copy)
    np.testing.assert_array_equal(bundle.input_row(4899), x[4899])
    with pytest.raises(BundleError, match=r"inputs\.npz is damaged"):
        bundle.input_row(4900)


def test_a_missing_file(bundle_copy: Path) -> None:
    (bundle_copy / INPUTS).unlink()
    with pytest.raises(BundleError, match=r"inputs\.npz is missing; a bundle is made by `edgedigits export`"):
        Bundle(bundle_copy).input_row(0)


@pytest.mark.parametrize("name", ["old.zip", "old"])
def test_where_no_block_is_known_all_is_read(bundle_copy: Path, x: FloatArray, tmp_path: Path, name: str) -> None:
    """A bundle made before there were blocks, and one that is a .zip."""
    if name == "old":
        change(bundle_copy, lambda manifest: manifest.pop("rows"))
        bundle_copy.rename(tmp_path / name)
    else:
        shutil.make_archive(str(tmp_path / "old"), "zip", bundle_copy)
    np.testing.assert_array_equal(Bundle(tmp_path / name).input_row(1015), x[1015])


@pytest.mark.parametrize(
    "edit",
    [
        lambda told: told.update(offset=0),
        lambda told: told.update(offset=-5),
        lambda told: told.update(offset=1.5),
        lambda told: told.update(offset=1 << 64),
        lambda told: told.update(bytes_per_row="1600"),
        lambda told: told.update(bytes_per_row=True),
        lambda told: told.update(bytes_per_row=1 << 31),
        lambda told: told.update(rows_per_block=0),
        lambda told: told.update(rows_per_block=99),
        lambda told: told.pop("offset"),
        lambda told: told["sha256"].pop(),
        lambda told: told.update(sha256=7),
    ],
)
def test_a_manifest_that_cannot_be_right(bundle_copy: Path, edit: Change) -> None:
    change(bundle_copy, lambda manifest: edit(manifest["rows"]))
    with pytest.raises(BundleError, match=r"manifest\.json cannot be read \(.*\); export the bundle again"):
        Bundle(bundle_copy)


@pytest.mark.parametrize(
    "edit",
    [
        lambda told: told.update(offset=told["offset"] + 4),
        lambda told: told.update(offset=(1 << 32) - 1),
        lambda told: told.update(bytes_per_row=1604),
        lambda told: told.update(bytes_per_row=1 << 24),
        lambda told: told["sha256"].insert(0, told["sha256"].pop()),
    ],
    ids=["shifted", "beyond the end", "too wide", "far too wide", "turned round"],
)
def test_a_manifest_that_contradicts_the_file(bundle_copy: Path, edit: Change) -> None:
    change(bundle_copy, lambda manifest: edit(manifest["rows"]))
    bundle = Bundle(bundle_copy)
    with pytest.raises(BundleError, match=r"inputs\.npz is damaged"):
        bundle.input_row(4321)
    with pytest.raises(BundleError, match=r"manifest\.json says otherwise of the rows of inputs\.npz"):
        bundle.verify()
