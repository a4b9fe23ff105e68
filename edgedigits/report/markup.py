"""HTML written so that nothing is forgotten: text is escaped unless it is markup already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


class Markup(str):
    """Text that is HTML; any other string is escaped where it is put into a tag."""

    __slots__ = ()


def joined(parts: Iterable[str]) -> Markup:
    """Parts one after the other, each escaped unless it is :class:`Markup`."""
    return Markup("".join(part if isinstance(part, Markup) else escape(part) for part in parts))


def tag(name: str, *content: str, **attributes: str | float) -> Markup:
    """One element. Attributes are escaped; ``class_`` and ``aria_label`` become ``class`` and ``aria-label``."""
    given = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(str(v))}"' for key, v in attributes.items())
    return Markup(f"<{name}{given}>{joined(content)}</{name}>")


def data_table(
    title: str, head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1, marked: Iterable[int] = ()
) -> Markup:
    """A table that scrolls within itself; the first ``left`` columns flush left, numbers right; some rows marked."""
    classes = ["left" if i < left else "" for i in range(len(head))]
    heads = [tag("th", cell, scope="col", class_=c) for cell, c in zip(head, classes, strict=True)]
    chosen = set(marked)
    body = []
    for number, row in enumerate(rows):
        cells = [tag("td", cell, class_=c) for cell, c in zip(row, classes, strict=True)]
        body.append(tag("tr", *cells, class_="chosen" if number in chosen else ""))
    table = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *body))
    return tag("div", table, class_="scroll", tabindex=0, role="region", aria_label=title)


def facts(pairs: Iterable[tuple[str, str]]) -> Markup:
    """Terms and their values."""
    return tag("dl", *(tag("div", tag("dt", key), tag("dd", value)) for key, value in pairs), class_="facts")
