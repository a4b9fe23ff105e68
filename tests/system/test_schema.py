"""Validation of JSON values against annotated dataclasses: every problem is found, with its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pytest

from edgedigits.system.limits import RefusedError
from edgedigits.system.schema import ANY_SIGN, MOST_PROBLEMS, Keys, Sha256, Text, count, examine, validate, within


@dataclass(frozen=True)
class Inner:
    size: Annotated[int, within(1, 10)]
    pair: tuple[int, float] = (0, 0.0)

    def __post_init__(self) -> None:
        if self.pair[0] > self.size:
            raise ValueError("the pair is larger than the size")


@dataclass(frozen=True)
class Outer:
    name: Text
    inner: tuple[Inner, ...]
    digests: Annotated[dict[str, Sha256], count(2)]
    part: Annotated[dict[str, Any], Keys({"a": int, "b": str | None})]
    note: str | None = None
    change: Annotated[float | None, ANY_SIGN] = None
    flag: bool = False
    free: Any = None


VALUE: dict[str, Any] = {
    "name": "x", "inner": [{"size": 3, "pair": [1, 2], "unknown": 0}], "digests": {"d": "0" * 64},
    "part": {"a": 1, "c": 2}, "note": "a\x1b", "change": -2, "flag": True, "free": [{}],
}  # fmt: skip


def test_a_valid_value() -> None:
    expected = Outer("x", (Inner(3, (1, 2.0)),), {"d": "0" * 64}, {"a": 1, "b": None}, "a\ufffd", -2.0, True, [{}])
    assert validate(Outer, VALUE) == expected


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"name": 1}, "name is a number, not a string"),
        ({"name": "\n"}, r"name is '\\n', not plain text"),
        ({"inner": {}}, "inner is an object, not a list"),
        ({"inner": [{}]}, r"inner\[0\]\.size is missing"),
        ({"inner": [{"size": True}]}, r"inner\[0\]\.size is true or false, not a whole number"),
        ({"inner": [{"size": 11}]}, r"inner\[0\]\.size is 11, expected 1 to 10"),
        ({"inner": [{"size": 1, "pair": [1]}]}, r"inner\[0\]\.pair has 1 items, not 2"),
        ({"inner": [{"size": 1, "pair": [1, -1]}]}, r"inner\[0\]\.pair\[1\] is -1, expected 0 to"),
        ({"inner": [{"size": 1, "pair": [1, float("nan")]}]}, r"inner\[0\]\.pair\[1\] is nan, expected 0 to"),
        ({"inner": [{"size": 1, "pair": [2, 0]}]}, r"inner\[0\]: the pair is larger than the size"),
        ({"digests": {"\x1b": "0"}}, "digests\\.\ufffd is '0', not a SHA-256 of 64 hexadecimal digits"),
        ({"digests": dict.fromkeys("abc", "0" * 64)}, "digests has 3 items, expected 0 to 2"),
        ({"part": {"b": "x"}}, "part.a is missing"),
        ({"flag": 1}, "flag is a number, not true or false"),
        ({"change": 10**300}, "change is 10{56}\\.\\.\\., expected -9,007"),
    ],
    ids=str,
)
def test_a_problem(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(RefusedError, match=f"^{problem}"):
        validate(Outer, VALUE | change)


def test_all_problems() -> None:
    found, problems = examine(Outer, {"name": 1, "inner": [{"size": 0}, {}], "digests": {"d": 5}, "part": {"a": None}})
    assert found is None
    assert [problem.split(" ")[0] for problem in problems] == [
        "name", "inner[0].size", "inner[1].size", "digests.d", "part.a"
    ]  # fmt: skip
    assert len(examine(Outer, VALUE | {"inner": [{}] * 1000})[1]) == MOST_PROBLEMS
    assert examine(Outer, []) == (None, ["it is a list, not an object"])
