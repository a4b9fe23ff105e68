"""Validates values from JSON against dataclasses, and finds every value that is wrong.

The annotations are the schema. ``Annotated[type, check]`` narrows a type: a check takes the JSON value and raises
RefusedError with a message that continues after the value's place, such as "is 300, expected -128 to 127".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

from edgedigits.system.limits import MOST_CHARACTERS, RefusedError, kind_of, printable, short

T = TypeVar("T")
Check: TypeAlias = Callable[[Any], None]
LARGEST = 2**53  # other JSON readers lose digits beyond this; in nanoseconds it is 104 days
MOST_PROBLEMS = 100


class Keys:
    """For ``Annotated[dict[str, Any], Keys(...)]``: the keys to read, and their types; X | None may be absent."""

    def __init__(self, types: Mapping[str, Any]) -> None:
        self.types = types

    def __call__(self, value: Any) -> None:
        """Accept the object; its keys are validated one by one."""


# Closures rather than dataclasses, whose making takes a millisecond at each start.
def within(low: float, high: float) -> Check:
    """A check that a number is within a range, ends included."""

    def check(value: float) -> None:
        if not low <= value <= high:  # NaN is outside too
            raise RefusedError(f"is {short(value)}, expected {low:,} to {high:,}")

    return check


def count(most: int, least: int = 0) -> Check:
    """A check of how many items a list or an object has."""

    def check(value: Any) -> None:
        if not least <= len(value) <= most:
            raise RefusedError(f"has {len(value):,} items, expected {least} to {most:,}")

    return check


def check_text(value: str) -> None:
    """RefusedError for text that is too long, or could steer the terminal it is shown on."""
    if not value.isprintable() or len(value) > MOST_CHARACTERS:
        raise RefusedError(f"is {short(repr(value))}, not plain text")


def check_sha256(value: Any) -> None:
    """RefusedError unless the value is 64 lower-case hexadecimal digits."""
    if not isinstance(value, str) or len(value) != 64 or value.strip("0123456789abcdef"):
        raise RefusedError(f"is {short(value)!r}, not a SHA-256 of 64 hexadecimal digits")


NOT_NEGATIVE, ANY_SIGN = within(0, LARGEST), within(-LARGEST, LARGEST)
Text = Annotated[str, check_text]
Sha256 = Annotated[str, check_sha256]


def check_version(facts: Any, schema: int, default: Any = "missing") -> dict[str, Any]:
    """The JSON object ``facts``; RefusedError for another value, or for one whose schema is not ``schema``.

    ``default`` stands for a schema that is absent.
    """
    if not isinstance(facts, dict):
        raise RefusedError(f"it is {kind_of(facts)}, not an object")
    found = facts.get("schema", default)
    if type(found) is not int or found != schema:
        raise RefusedError(f"schema is {short(found)}, expected {schema}")
    return facts


def validate(kind: type[T], value: Any) -> T:
    """The value as an instance of a dataclass; RefusedError names the first value that is wrong."""
    found, problems = examine(kind, value)
    if found is None:
        raise RefusedError(problems[0])
    return found


def examine(kind: type[T], value: Any) -> tuple[T | None, list[str]]:
    """The value as an instance of a dataclass, or None and all that is wrong with it, at most MOST_PROBLEMS.

    Without a check, a ``str`` is made printable and a number must be within 0 and LARGEST. Unknown keys are ignored; a
    field with a default may be absent.
    """
    reader = _Reader()
    found = reader.read(kind, value, "")
    return (None if found is _INVALID else found), reader.problems


_INVALID: Any = object()
# What the JSON value of an annotation must be, and how messages call that.
_JSON: dict[Any, tuple[type | tuple[type, ...], str]] = {
    dict: (dict, "an object"),
    tuple: (list, "a list"),
    str: (str, "a string"),
    bool: (bool, "true or false"),
    int: (int, "a whole number"),
    float: ((int, float), "a number"),
}


class _Reader:
    def __init__(self) -> None:
        self.problems: list[str] = []

    def read(self, kind: Any, value: Any, where: str, checks: tuple[Any, ...] = ()) -> Any:
        """The value as the annotation has it, or _INVALID."""
        origin, arguments = get_origin(kind), get_args(kind)
        if origin is Annotated:
            return self.read(arguments[0], value, where, arguments[1:])
        if origin in (UnionType, Union):
            (present,) = (argument for argument in arguments if argument is not NoneType)
            return None if value is None else self.read(present, value, where, checks)
        if kind is Any:
            return value
        base = dict if is_dataclass(kind) else origin or kind
        types, expected = _JSON[base]
        fits: bool = isinstance(value, types) and (base is bool or not isinstance(value, bool))
        if not fits:
            return self._problem(where, f"is {kind_of(value)}, not {expected}")
        try:
            for check in checks or ((NOT_NEGATIVE,) if base in (int, float) else ()):
                check(value)
        except RefusedError as cause:
            return self._problem(where, str(cause))
        if base is tuple:
            return self._list(arguments, value, where)
        if base is dict:
            return self._object(kind, arguments, value, where, checks)
        return printable(value) if base is str else float(value) if base is float else value

    def _list(self, arguments: tuple[Any, ...], value: list[Any], where: str) -> Any:
        if arguments[-1] is ...:
            arguments = arguments[:1] * len(value)
        if len(value) != len(arguments):
            return self._problem(where, f"has {len(value)} items, not {len(arguments)}")
        pairs = enumerate(zip(arguments, value, strict=True))
        found = tuple([self.read(kind, item, f"{where}[{i}]") for i, (kind, item) in pairs])
        return _INVALID if _INVALID in found else found

    def _object(self, kind: Any, arguments: tuple[Any, ...], value: Any, where: str, checks: tuple[Any, ...]) -> Any:
        if not arguments:
            return self._record(kind, _fields(kind), value, where)
        keys = next((check.types for check in checks if isinstance(check, Keys)), None)
        if keys is not None:
            wanted = [(name, type_, NoneType not in get_args(type_)) for name, type_ in keys.items()]
            return self._record(lambda **found: dict.fromkeys(keys) | found, wanted, value, where)
        if arguments[1] is Any:
            return value
        found = {
            self.read(arguments[0], key, f"a key of {where}"): self.read(arguments[1], item, f"{where}.{short(key)}")
            for key, item in value.items()
        }
        return _INVALID if _INVALID in (*found, *found.values()) else found

    def _record(
        self, build: Callable[..., Any], wanted: list[tuple[str, Any, bool]], value: dict[str, Any], where: str
    ) -> Any:
        found = {}
        for name, kind, required in wanted:
            at = f"{where}.{name}".lstrip(".")
            if name in value:
                found[name] = self.read(kind, value[name], at)
            elif required:
                found[name] = self._problem(at, "is missing")
        if _INVALID in found.values():
            return _INVALID
        try:
            return build(**found)
        except ValueError as cause:  # from its __post_init__, where values do not go together
            return self._problem(f"{where}:" if where else "", str(cause))

    def _problem(self, where: str, problem: str) -> Any:
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(f"{where or 'it'} {problem}")
        return _INVALID


@cache
def _fields(kind: Any) -> list[tuple[str, Any, bool]]:
    """A dataclass's fields: name, annotation, and whether a file must have it."""
    known = fields(kind)
    if any(isinstance(f.type, str) for f in known):  # where its module has `from __future__ import annotations`
        hints = get_type_hints(kind, include_extras=True)
    else:
        hints = {f.name: f.type for f in known}
    return [(f.name, hints[f.name], f.default is MISSING and f.default_factory is MISSING) for f in known]
