"""The contract of a bundle's model: which arrays and pictures it takes, and what its outputs mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedigits.bundle.bundle import MANIFEST, Bundle
from edgedigits.bundle.contract import Contract
from edgedigits.system.limits import RefusedError

DIGITS = Contract((400,), pictures="digits", order="columns")
ROWS = Contract((400,), pictures="plain", order="rows")


@pytest.mark.parametrize(
    ("contract", "picture"),
    [
        (DIGITS, (20, 20)),
        (ROWS, (20, 20)),
        (Contract((28, 20, 1), pictures="plain"), (28, 20)),
        (Contract((20, 28), pictures="plain", order="columns"), (28, 20)),
        (Contract((32, 30, 3), pictures="plain"), (32, 30, 3)),
    ],
)
def test_a_picture_of_an_input_becomes_that_input(contract: Contract, picture: tuple[int, ...]) -> None:
    x = np.arange(3 * np.prod(contract.shape), dtype=np.float32).reshape(3, *contract.shape)
    pictures = np.stack([contract.to_picture(row) for row in x])
    assert pictures.shape == (3, *picture)
    if len(picture) == 2:
        np.testing.assert_array_equal(contract.to_input(pictures), x)
        np.testing.assert_array_equal(contract.to_input(pictures[1]), x[1])
    np.testing.assert_array_equal(contract.to_input(x), x)


def test_the_order_of_the_pixels() -> None:
    row = np.arange(400)
    np.testing.assert_array_equal(ROWS.to_picture(row), row.reshape(20, 20))
    np.testing.assert_array_equal(DIGITS.to_picture(row), row.reshape(20, 20).T)


def test_a_model_that_takes_no_pictures() -> None:
    x = np.zeros((3, 20, 20), np.float32)
    assert Contract((400,)).to_input(x).shape == (3, 20, 20)
    with pytest.raises(RefusedError, match=r"shape \(5,\) cannot be shown"):
        Contract((5,)).to_picture(np.zeros(5))


@pytest.mark.parametrize("wrong", [{"shape": (399,), "pictures": "plain"}, {"shape": (400,), "pictures": "digits"}])
def test_pictures_that_do_not_fit_the_input(wrong: dict[str, Any]) -> None:
    with pytest.raises(RefusedError, match="inputs of shape"):
        Contract(**wrong)


def test_scores_and_probabilities() -> None:
    p = np.array([[0.25], [0.5], [0.75]], np.float32)
    sigmoid = Contract((5,), output="sigmoid")
    assert sigmoid.scores(p).argmax(axis=-1).tolist() == [0, 0, 1]
    np.testing.assert_array_equal(sigmoid.probabilities(p)[0], [0.75, 0.25])
    given = np.array([0.125, 0.875], np.float32)
    np.testing.assert_array_equal(Contract((5,), output="softmax").probabilities(given, temperature=3.0), given)
    logits = np.log(given).astype(np.float32)
    np.testing.assert_allclose(Contract((5,)).probabilities(logits * np.float32(2), temperature=2.0), given, rtol=1e-6)


def schema_1(folder: Path, recipe: str | None) -> None:
    """Rewrite a bundle's manifest as the versions before contracts wrote it."""
    facts = json.loads((folder / MANIFEST).read_text())
    del facts["contract"]
    facts |= {"schema": 1, "preprocessing": {}, "training": {"recipe": recipe} if recipe else {}}
    (folder / MANIFEST).write_text(json.dumps(facts))


@pytest.mark.parametrize(("recipe", "pictures"), [("robust", "digits"), (None, "none")])
def test_a_bundle_without_a_contract(bundle_copy: Path, recipe: str | None, pictures: str) -> None:
    schema_1(bundle_copy, recipe)
    contract = Bundle(bundle_copy).manifest.contract
    assert (contract.shape, contract.pictures, contract.output) == ((400,), pictures, "logits")
