"""Draw the steps of predictions: the picture, its ink, 28x28, the model's input and the probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from edgedigits.bundle.dataset import to_image
from edgedigits.errors import InputError
from edgedigits.pictures.geometry import Box
from edgedigits.pictures.predictions import SURE, Row, rank_digits
from edgedigits.pictures.preprocessing import Preprocessed
from edgedigits.runtimes.tensors import AnyArray, FloatArray
from edgedigits.system.files import atomic_file

MAX_PICTURES = 100  # on one page
PANEL, GAP, MARGIN = 200, 24, 28  # pixels
BARS = 300  # the width of the probabilities' panel
HEAD, CARD = 50, 50 + PANEL + 68  # the heights of a picture's heading, and of all its panels with it
WIDTH = 2 * MARGIN + 4 * (PANEL + GAP) + BARS
CAPTIONS = ("picture", "its ink and their box", "28x28, centered by mass", "20x20, the model's input", "probability")
PAGE_COLOR, CARD_COLOR, TEXT, FAINT, LINE = "#f6f7f9", "#ffffff", "#1f2933", "#6b7684", "#d5dae1"
SURE_COLOR, UNSURE_COLOR, BAR, BOX = "#1d6fd1", "#b45309", "#c3cbd6", (226, 74, 51)


def draw_steps(predictions: Sequence[tuple[Preprocessed | None, FloatArray, Row]], target: Path) -> None:
    """Draw a card for each: the steps (None for an image of the bundle), the model's input (400,) and the result."""
    if len(predictions) > MAX_PICTURES:
        raise InputError(f"--explain: {len(predictions)} pictures; give at most {MAX_PICTURES}")
    if target.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise InputError(f"--explain {target}: unsupported file type; use a name that ends in .png")
    page = Image.new("RGB", (WIDTH, 2 * MARGIN + CARD * len(predictions) - 22), PAGE_COLOR)
    for number, (steps, row, prediction) in enumerate(predictions):
        _draw_card(page, MARGIN + number * CARD, steps, row, prediction)
    with atomic_file(target) as temporary:
        page.save(temporary)


def _draw_card(page: Image.Image, top: int, steps: Preprocessed | None, row: FloatArray, prediction: Row) -> None:
    pen = ImageDraw.Draw(page)
    pen.rounded_rectangle((10, top - 12, WIDTH - 10, top + CARD - 34), 10, CARD_COLOR, LINE)
    sure, digit = prediction["status"] == SURE, prediction["digit"]
    heading, color = (f"{digit}", SURE_COLOR) if sure else (f"unsure, {digit}?", UNSURE_COLOR)
    heading += f"   {prediction['probabilities'][digit]:.1%}"
    pen.text((MARGIN, top), heading, color, _font(24))
    start = MARGIN + pen.textlength(heading, _font(24)) + 24
    details = _shorten(pen, "; ".join([prediction["source"], *prediction["doubts"]]), WIDTH - MARGIN - start, _font(15))
    pen.text((start, top + 8), details, FAINT, _font(15))
    panels = [*(_step_panels(steps) if steps else [None] * 3), _scaled(np.clip(to_image(row), 0, 1))]
    for place, picture in enumerate(panels):
        left = MARGIN + place * (PANEL + GAP)
        if picture:
            page.paste(picture, (left + (PANEL - picture.width) // 2, top + HEAD + (PANEL - picture.height) // 2))
        pen.rectangle((left - 1, top + HEAD - 1, left + PANEL, top + HEAD + PANEL), outline=LINE)
        pen.text((left, top + HEAD + PANEL + 8), CAPTIONS[place], FAINT, _font(13))
    _draw_bars(pen, MARGIN + 4 * (PANEL + GAP), top + HEAD, prediction["probabilities"], color)


def _step_panels(steps: Preprocessed) -> list[Image.Image | None]:
    """The page with the segmented part marked, the mask with the digit's box, and 28x28 if there is one."""
    page, mask = _scaled(steps.page), _scaled(steps.digit.mask.astype(np.float32))
    if steps.part != (0, 0, *steps.page.shape):
        _mark(page, steps.part, steps.page.shape)
    _mark(mask, steps.digit.box, steps.digit.mask.shape)
    return [page, mask, None if steps.mnist is None else _scaled(steps.mnist)]


def _scaled(gray: AnyArray) -> Image.Image:
    """An array (h, w), 0 to 1, scaled to the panel; enlarged pixels stay squares."""
    height, width = gray.shape
    scale = PANEL / max(height, width)
    picture = Image.fromarray(np.rint(np.clip(gray, 0, 1) * 255).astype(np.uint8))
    kind = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
    return picture.resize((max(1, round(width * scale)), max(1, round(height * scale))), kind).convert("RGB")


def _mark(picture: Image.Image, box: Box, shape: tuple[int, ...]) -> None:
    """Draw a frame around a box of the array of this shape that the picture shows."""
    scale = picture.height / shape[0]
    top, left, bottom, right = (round(at * scale) for at in box)
    frame = (max(0, left - 3), max(0, top - 3), min(picture.width - 1, right + 2), min(picture.height - 1, bottom + 2))
    ImageDraw.Draw(picture).rectangle(frame, outline=BOX, width=2)


def _draw_bars(pen: ImageDraw.ImageDraw, left: int, top: int, probabilities: Sequence[float], color: str) -> None:
    """A bar and a percentage for each digit, the most probable in color."""
    height, longest = PANEL / len(probabilities), BARS - 92
    for digit, share in enumerate(probabilities):
        middle = top + (digit + 0.5) * height
        first = digit == rank_digits(probabilities)[0]
        pen.text((left + 8, middle), str(digit), TEXT if first else FAINT, _font(15), anchor="mm")
        end = left + 24 + max(1, round(longest * share))
        pen.rectangle((left + 24, middle - height * 0.34, end, middle + height * 0.34), color if first else BAR)
        percent = f"{share:.1%}" if share >= 0.0005 else "<0.1%"
        pen.text((end + 8, middle), percent, TEXT if first else FAINT, _font(13), anchor="lm")
    pen.text((left + 24, top + PANEL + 8), CAPTIONS[-1], FAINT, _font(13))


def _shorten(pen: ImageDraw.ImageDraw, text: str, width: float, font: Any) -> str:
    """The text, with its middle left out if it is too wide; unprintable characters become question marks."""
    shown = text = "".join(letter if letter.isprintable() else "?" for letter in text)
    keep = len(text)
    while keep > 8 and pen.textlength(shown, font) > width:
        keep -= 2
        shown = f"{text[: keep // 2]}...{text[-(keep // 2) :]}"
    return shown


def _font(size: int) -> Any:
    """Pillow's default font; a Pillow without FreeType has only a small one of fixed size."""
    try:
        return ImageFont.load_default(size)
    except (TypeError, ImportError, OSError):
        return ImageFont.load_default()
