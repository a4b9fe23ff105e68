"""The steps of a prediction as one picture: what was given, the ink, 28x28, what the model saw, its probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from edgedigits.bundle.dataset import to_image
from edgedigits.errors import InputError
from edgedigits.pictures.predictions import SURE, Row, ranked
from edgedigits.runtimes.tensors import AnyArray, FloatArray
from edgedigits.system.files import atomic_file

if TYPE_CHECKING:
    from edgedigits.pictures.preprocessing import Look

    Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

MOST = 100  # pictures on one page
PANEL, GAP, MARGIN = 200, 24, 28  # pixels
BARS = 300  # the width of the probabilities' panel
HEAD, ROW = 50, 50 + PANEL + 68  # of one picture: its line of words, and all of it
WIDTH = 2 * MARGIN + 4 * (PANEL + GAP) + BARS
CAPTIONS = ("picture", "its ink and their box", "28x28, centered by mass", "20x20, what the model saw", "probability")
PAPER, CARD, TEXT, FAINT, LINE = "#f6f7f9", "#ffffff", "#1f2933", "#6b7684", "#d5dae1"
GOOD, DOUBTFUL, BAR, BOX = "#1d6fd1", "#b45309", "#c3cbd6", (226, 74, 51)


def draw(seen: Sequence[tuple[Look | None, FloatArray | None, Row]], target: Path) -> None:
    """Draw a row for each picture and write the file, whole or not at all; its suffix says the format.

    Args:
        seen: the steps (None for an image of the bundle), the model's input (400,) and the answer to it.

    Raises:
        InputError: too many pictures, or a suffix that is no picture's.
    """
    if len(seen) > MOST:
        raise InputError(f"--explain: {len(seen)} pictures; at most {MOST} go on one page, so give fewer at a time")
    if target.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise InputError(f"--explain {target}: not a picture's name; give one that ends in .png")
    page = Image.new("RGB", (WIDTH, 2 * MARGIN + ROW * len(seen) - 22), PAPER)
    for number, (look, row, answer) in enumerate(seen):
        assert row is not None
        _row(page, MARGIN + number * ROW, look, row, answer)
    with atomic_file(target) as temporary:
        page.save(temporary)


def _row(page: Image.Image, top: int, look: Look | None, row: FloatArray, answer: Row) -> None:
    pen = ImageDraw.Draw(page)
    pen.rounded_rectangle((10, top - 12, WIDTH - 10, top + ROW - 34), 10, CARD, LINE)
    color = GOOD if answer["status"] == SURE else DOUBTFUL
    digit = answer["digit"]
    verdict = f"{digit}" if answer["status"] == SURE else f"unsure, {digit}?"
    words = f"{verdict}   {answer['probabilities'][digit]:.1%}"
    pen.text((MARGIN, top), words, color, _font(24))
    start = MARGIN + pen.textlength(words, _font(24)) + 24
    told = _fitting(pen, "; ".join([answer["source"], *answer["doubts"]]), WIDTH - MARGIN - start, _font(15))
    pen.text((start, top + 8), told, FAINT, _font(15))
    panels = [*(_steps(look) if look else [None] * 3), _enlarged(np.clip(to_image(row), 0, 1))]
    for place, picture in enumerate(panels):
        left = MARGIN + place * (PANEL + GAP)
        if picture is None:
            pen.text((left + PANEL // 2, top + HEAD + PANEL // 2), "-", FAINT, _font(15), anchor="mm")
        else:
            at = left + (PANEL - picture.width) // 2, top + HEAD + (PANEL - picture.height) // 2
            page.paste(picture, at)
        pen.rectangle((left - 1, top + HEAD - 1, left + PANEL, top + HEAD + PANEL), outline=LINE)
        pen.text((left, top + HEAD + PANEL + 8), CAPTIONS[place], FAINT, _font(13))
    _bars(pen, MARGIN + 4 * (PANEL + GAP), top + HEAD, answer["probabilities"], color)


def _steps(look: Look) -> list[Image.Image | None]:
    """The picture with the part looked at, the ink with its box, and 28x28 (of a 20x20 picture there is none)."""
    whole = (0, 0, *look.page.shape)
    mask = np.where(look.mask, np.float32(1.0), np.float32(0.0))
    return [
        _enlarged(look.page) if look.part == whole else _boxed(_enlarged(look.page), look.part, look.page.shape),
        _boxed(_enlarged(mask), look.box, look.mask.shape),
        None if look.mnist is None else _enlarged(look.mnist),
    ]


def _enlarged(gray: AnyArray) -> Image.Image:
    """An array (h, w), 0 to 1, as large as the panel takes it; its pixels stay squares."""
    height, width = gray.shape
    scale = PANEL / max(height, width)
    picture = Image.fromarray(np.rint(np.clip(gray, 0, 1) * 255).astype(np.uint8))
    kind = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
    return picture.resize((max(1, round(width * scale)), max(1, round(height * scale))), kind).convert("RGB")


def _boxed(picture: Image.Image, box: tuple[int, int, int, int], shape: tuple[int, ...]) -> Image.Image:
    """The picture of an array of this shape, with a frame around the box, (top, left, bottom, right)."""
    scale = picture.height / shape[0]
    top, left, bottom, right = (round(at * scale) for at in box)
    frame = (max(0, left - 3), max(0, top - 3), min(picture.width - 1, right + 2), min(picture.height - 1, bottom + 2))
    ImageDraw.Draw(picture).rectangle(frame, outline=BOX, width=2)
    return picture


def _bars(pen: ImageDraw.ImageDraw, left: int, top: int, shares: Sequence[float], color: str) -> None:
    """A bar for each digit, the likeliest in color, with its share in percent."""
    height = PANEL / len(shares)
    longest = BARS - 92
    for digit, share in enumerate(shares):
        middle = top + (digit + 0.5) * height
        first = digit == ranked(shares)[0]
        pen.text((left + 8, middle), str(digit), TEXT if first else FAINT, _font(15), anchor="mm")
        end = left + 24 + max(1, round(longest * share))
        pen.rectangle((left + 24, middle - height * 0.34, end, middle + height * 0.34), color if first else BAR)
        words = f"{share:.1%}" if share >= 0.0005 else "<0.1%"
        pen.text((end + 8, middle), words, TEXT if first else FAINT, _font(13), anchor="lm")
    pen.text((left + 24, top + PANEL + 8), CAPTIONS[-1], FAINT, _font(13))


def _fitting(pen: ImageDraw.ImageDraw, words: str, width: float, font: Any) -> str:
    """The words, or as much of them as fits; what is left out is in the middle, since a path's end tells most."""
    words = "".join(letter if letter.isprintable() else "?" for letter in words)
    if pen.textlength(words, font) <= width:
        return words
    keep = len(words)
    while keep > 8 and pen.textlength(f"{words[: keep // 2]}...{words[-(keep // 2) :]}", font) > width:
        keep -= 2
    return f"{words[: keep // 2]}...{words[-(keep // 2) :]}"


def _font(size: int) -> Any:
    """Pillow's own letters at that size; where it was built without FreeType, its small ones of one size."""
    try:
        return ImageFont.load_default(size)
    except (TypeError, ImportError, OSError):
        return ImageFont.load_default()
