"""One row of the inputs, read alone: the same as in the whole array, from one verified block."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedigits.bundle.bundle import INPUTS, MANIFEST, Bundle
from edgedigits.bundle.manifest import InputRows
from edgedigits.errors import BundleError
from edgedigits.runtimes.tensors import FloatArray

Change = Callable[[dict[str, Any]], object]


def change(bundle: Path, edit: Change) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    edit(manifest)
    (bundle / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


@pytest.mark.parametrize("count", [1, 99, 100, 101, 250])
def test_the_last_block_may_be_short(tmp_path: Path, count: int) -> None:
    x = np.random.default_rng(3).random((count, 7), np.float32)
    path = tmp_path / INPUTS
    np.savez(path, X=x, y=np.zeros(count, np.uint8))
    rows = InputRows.of(x, path.read_bytes().index(x.tobytes()))
    assert rows.matches(path.read_bytes(), x)
    assert len(rows.sha256) == -(-count // 100)
    np.testing.assert_array_equal([rows.read(path, index, count) for index in range(count)], x)


def test_only_the_row_s_block_is_checked(bundle_copy: Path, x: FloatArray) -> None:
    """A byte changed in another block is found by `verify`, and does not matter to this row; one in its own does."""
    rows = Bundle().manifest.rows
    assert rows
    content = bytearray((bundle_copy / INPUTS).read_bytes())
    content[rows.offset + 1200 * 1600] ^= 1
    (bundle_copy / INPUTS).write_bytes(content[: rows.offset + 4950 * 1600])  # and cut within the last block
    bundle = Bundle(bundle_copy)
    for index in (0, 1199, 1300, 4899):
        np.testing.assert_array_equal(bundle.input_row(index), x[index])
    for index in (1200, 1299, 4900):
        with pytest.raises(BundleError, match=rf"inputs\.npz is damaged \(the block of row {index} .*copy or export"):
            bundle.input_row(index)
    with pytest.raises(BundleError, match=r"inputs\.npz is damaged"):
        bundle.verify()


def test_a_missing_file(bundle_copy: Path) -> None:
    (bundle_copy / INPUTS).unlink()
    with pytest.raises(BundleError, match=r"inputs\.npz is missing; copy the bundle again"):
        Bundle(bundle_copy).input_row(0)


@pytest.mark.parametrize("name", ["old.zip", "old"])
def test_without_blocks_all_is_read(bundle_copy: Path, x: FloatArray, tmp_path: Path, name: str) -> None:
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
        lambda rows: rows.update(offset=0),
        lambda rows: rows.update(offset=1 << 64),
        lambda rows: rows.update(bytes_per_row=True),
        lambda rows: rows.update(rows_per_block=99),
        lambda rows: rows.pop("offset"),
        lambda rows: rows["sha256"].pop(),
        lambda rows: rows.update(sha256=7),
    ],
)
def test_invalid_in_the_manifest(bundle_copy: Path, edit: Change) -> None:
    change(bundle_copy, lambda manifest: edit(manifest["rows"]))
    with pytest.raises(BundleError, match=r"manifest\.json is invalid \(.*rows.*\)"):
        Bundle(bundle_copy)


@pytest.mark.parametrize(
    "edit",
    [
        lambda rows: rows.update(offset=rows["offset"] + 4),
        lambda rows: rows.update(offset=(1 << 32) - 1),
        lambda rows: rows.update(bytes_per_row=1604),
        lambda rows: rows["sha256"].insert(0, rows["sha256"].pop()),
    ],
    ids=["shifted", "beyond the end", "too wide", "in another order"],
)
def test_contradictions_with_the_file(bundle_copy: Path, edit: Change) -> None:
    change(bundle_copy, lambda manifest: edit(manifest["rows"]))
    bundle = Bundle(bundle_copy)
    with pytest.raises(BundleError, match=r"inputs\.npz is damaged"):
        bundle.input_row(4321)
    with pytest.raises(BundleError, match=r"the rows of inputs\.npz are not where manifest\.json says"):
        bundle.verify()
