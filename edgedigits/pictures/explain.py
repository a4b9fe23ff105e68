"""Draw the steps of predictions: the picture, a digit's ink and 28x28, the model's input and the probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from edgedigits.errors import InputError
from edgedigits.pictures.geometry import Box
from edgedigits.pictures.plain import PlainPicture
from edgedigits.pictures.predictions import SURE, Row, rank_classes
from edgedigits.pictures.preprocessing import Preprocessed
from edgedigits.runtimes.tensors import AnyArray, FloatArray
from edgedigits.system.files import atomic_file

MAX_PICTURES = 100  # on one page
PANEL, GAP, MARGIN = 200, 24, 28  # pixels
BARS = 300  # the width of the probabilities' panel
HEAD, CARD = 50, 50 + PANEL + 68  # the heights of a picture's heading, and of all its panels with it
MOST_BARS = 10  # of a model with more classes, only the most probable are shown
DIGIT_STEPS = ("picture", "its ink and their box", "28x28, centered by mass")
PAGE_COLOR, CARD_COLOR, TEXT, FAINT, LINE = "#f6f7f9", "#ffffff", "#1f2933", "#6b7684", "#d5dae1"
SURE_COLOR, UNSURE_COLOR, BAR, BOX = "#1d6fd1", "#b45309", "#c3cbd6", (226, 74, 51)


@dataclass(frozen=True)
class Step:
    """A prediction: its steps (None for an image of the bundle), the input (h, w) or (h, w, 3), 0 to 1, the result."""

    steps: Preprocessed | PlainPicture | None
    shown: FloatArray
    prediction: Row


def draw_steps(predictions: Sequence[Step], labels: Sequence[str], digits: bool, target: Path) -> None:
    """Draw a card for each prediction; ``digits``: with the steps that find the digit in a picture."""
    if len(predictions) > MAX_PICTURES:
        raise InputError(f"--explain: {len(predictions)} pictures; give at most {MAX_PICTURES}")
    if target.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise InputError(f"--explain {target}: unsupported file type; use a name that ends in .png")
    captions = (*(DIGIT_STEPS if digits else DIGIT_STEPS[:1]), "{1}x{0}, the model's input")
    width = 2 * MARGIN + len(captions) * (PANEL + GAP) + BARS
    page = Image.new("RGB", (width, 2 * MARGIN + CARD * len(predictions) - 22), PAGE_COLOR)
    for number, each in enumerate(predictions):
        _draw_card(page, MARGIN + number * CARD, each, labels, captions)
    with atomic_file(target) as temporary:
        page.save(temporary)


def _draw_card(page: Image.Image, top: int, each: Step, labels: Sequence[str], captions: Sequence[str]) -> None:
    pen, prediction, width = ImageDraw.Draw(page), each.prediction, page.width
    pen.rounded_rectangle((10, top - 12, width - 10, top + CARD - 34), 10, CARD_COLOR, LINE)
    label = _shorten(pen, prediction["label"], width // 3, _font(24))
    sure = prediction["status"] == SURE
    heading, color = (label, SURE_COLOR) if sure else (f"unsure, {label}?", UNSURE_COLOR)
    heading += f"   {max(prediction['probabilities']):.1%}"
    pen.text((MARGIN, top), heading, color, _font(24))
    start = MARGIN + pen.textlength(heading, _font(24)) + 24
    details = _shorten(pen, "; ".join([prediction["source"], *prediction["doubts"]]), width - MARGIN - start, _font(15))
    pen.text((start, top + 8), details, FAINT, _font(15))
    panels = [*_step_panels(each.steps, len(captions) - 1), _scaled(each.shown)]
    for place, (picture, caption) in enumerate(zip(panels, captions, strict=True)):
        left = MARGIN + place * (PANEL + GAP)
        if picture:
            page.paste(picture, (left + (PANEL - picture.width) // 2, top + HEAD + (PANEL - picture.height) // 2))
        pen.rectangle((left - 1, top + HEAD - 1, left + PANEL, top + HEAD + PANEL), outline=LINE)
        pen.text((left, top + HEAD + PANEL + 8), caption.format(*each.shown.shape), FAINT, _font(13))
    _draw_bars(pen, MARGIN + len(panels) * (PANEL + GAP), top + HEAD, prediction["probabilities"], labels, color)


def _step_panels(steps: Preprocessed | PlainPicture | None, count: int) -> list[Image.Image | None]:
    """The page; of a digit with the segmented part marked, the mask with the digit's box, and 28x28 if there is one."""
    if steps is None:
        return [None] * count
    if isinstance(steps, PlainPicture):
        return [_scaled(steps.page)]
    page, mask = _scaled(steps.page), _scaled(steps.digit.mask.astype(np.float32))
    if steps.part != (0, 0, *steps.page.shape):
        _mark(page, steps.part, steps.page.shape)
    _mark(mask, steps.digit.box, steps.digit.mask.shape)
    return [page, mask, None if steps.mnist is None else _scaled(steps.mnist)]


def _scaled(gray: AnyArray) -> Image.Image:
    """An array (h, w) or (h, w, 3), 0 to 1, scaled to the panel; enlarged pixels stay squares."""
    height, width = gray.shape[:2]
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


def _draw_bars(
    pen: ImageDraw.ImageDraw, left: int, top: int, probabilities: Sequence[float], labels: Sequence[str], color: str
) -> None:
    """A bar and a percentage for each class, or for the most probable ones, the first of which is in color."""
    ranks = rank_classes(probabilities)
    shown = range(len(ranks)) if len(ranks) <= MOST_BARS else ranks[:MOST_BARS]
    names = {index: _shorten(pen, labels[index], BARS // 3, _font(15)) for index in shown}
    start = left + max(24, 14 + round(max(pen.textlength(name, _font(15)) for name in names.values())))
    height, longest = PANEL / max(len(shown), 4), left + BARS - 68 - start
    for place, index in enumerate(shown):
        middle, share, first = top + (place + 0.5) * height, probabilities[index], index == ranks[0]
        pen.text(((left + start - 8) / 2, middle), names[index], TEXT if first else FAINT, _font(15), anchor="mm")
        end = start + max(1, round(longest * share))
        pen.rectangle((start, middle - height * 0.34, end, middle + height * 0.34), color if first else BAR)
        percent = f"{share:.1%}" if share >= 0.0005 else "<0.1%"
        pen.text((end + 8, middle), percent, TEXT if first else FAINT, _font(13), anchor="lm")
    pen.text((start, top + PANEL + 8), "probability", FAINT, _font(13))


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
