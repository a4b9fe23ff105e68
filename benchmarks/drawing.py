"""Draw digits as the kinds of pictures that people give to `predict`, from fixed seeds.

A 28x28 digit of the data set is enlarged with a bicubic filter, and its contrast is stretched by ``STEEP`` so that its
edges are as steep as those of a pen. Stroke widths are in pixels of 28x28.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageChops, ImageFilter

if TYPE_CHECKING:
    import numpy.typing as npt

Rng = np.random.Generator
STEEP = 2.0
SIZES = (28, 40, 64, 100, 160, 200, 280, 400)  # pixels of a clean picture's side
SIDE = 200  # of all others that have one size
THICKER, THINNER = 0.8, 0.5  # at each side of a stroke
INK, PAPER = 20, 255


def ink(digit: npt.NDArray[np.uint8], side: int, wider: float = 0.0) -> Image.Image:
    """The digit's square at ``side`` pixels, ink 255 on 0, strokes widened by ``wider`` at each side."""
    picture = Image.fromarray(digit)
    if side != len(digit):
        picture = picture.resize((side, side), Image.Resampling.BICUBIC)
        picture = picture.point([int(np.clip((v - 127.5) * STEEP + 127.5, 0, 255)) for v in range(256)])
    reach = round(abs(wider) * side / 28)
    if reach and wider > 0:
        picture = picture.filter(ImageFilter.MaxFilter(2 * reach + 1))
    return narrowed(picture, reach) if wider < 0 else picture


def narrowed(picture: Image.Image, reach: int) -> Image.Image:
    """Strokes narrowed by ``reach`` pixels at each side; strokes that would vanish become a line of 3 pixels.

    Their skeleton is what openings remove on the way. Source: C. Lantuejoul's formula (J. Serra, "Image Analysis and
    Mathematical Morphology", 1982).
    """
    middle = Image.new("L", picture.size)
    for _ in range(reach):
        smaller = picture.filter(ImageFilter.MinFilter(3))
        lost = ImageChops.subtract(picture, smaller.filter(ImageFilter.MaxFilter(3)))
        middle, picture = ImageChops.lighter(middle, lost), smaller
    return ImageChops.lighter(picture, middle.filter(ImageFilter.MaxFilter(3)))


def on_paper(drawn: Image.Image, paper: int = PAPER, pen: int = INK) -> Image.Image:
    """Ink 255 on 0 -> the pen's gray on the paper's."""
    return drawn.point([round(paper + (pen - paper) * v / 255) for v in range(256)])


def clean(digit: npt.NDArray[np.uint8], rng: Rng) -> bytes:
    return saved(on_paper(ink(digit, int(rng.choice(SIZES)))))


def inverted(digit: npt.NDArray[np.uint8], rng: Rng) -> bytes:
    return saved(ink(digit, SIDE))


def jpeg(digit: npt.NDArray[np.uint8], rng: Rng) -> bytes:
    return saved(on_paper(ink(digit, SIDE)), "JPEG", quality=30)


def rotated(digit: npt.NDArray[np.uint8], rng: Rng) -> bytes:
    """Up to 15 degrees either way."""
    turned = ink(digit, SIDE).rotate(rng.uniform(-15, 15), Image.Resampling.BICUBIC)
    return saved(on_paper(turned))


def thick(digit: npt.NDArray[np.uint8], rng: Rng) -> bytes:
    return saved(on_paper(ink(digit, SIDE, THICKER)))


def thin(digit: npt.NDArray[np.uint8], rng: Rng) -> bytes:
    return saved(on_paper(ink(digit, SIDE, -THINNER)))


def large_page(digit: npt.NDArray[np.uint8], rng: Rng, width: int = 800) -> bytes:
    """The digit takes a tenth to three tenths of the page's width, anywhere on it: 80 to 240 pixels on 800x600."""
    height = width * 3 // 4
    side = int(rng.integers(width // 10, width * 3 // 10 + 1))
    page = Image.new("L", (width, height))
    page.paste(ink(digit, side), (int(rng.integers(0, width - side)), int(rng.integers(0, height - side))))
    return saved(on_paper(page))


def ruled(digit: npt.NDArray[np.uint8], rng: Rng) -> bytes:
    """One line across the page, slanted by up to a degree, 1 to 3 pixels thick, half as dark as the pen or as dark."""
    page = np.asarray(ink(digit, SIDE)).astype(np.float32)
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    middle = rng.uniform(0.1, 0.9) * SIDE + np.tan(np.radians(rng.uniform(-1, 1))) * (x - SIDE / 2)
    line = np.clip(rng.uniform(1, 3) / 2 + 0.5 - np.abs(y - middle), 0, 1) * rng.uniform(0.5, 1) * 255
    return saved(on_paper(Image.fromarray(np.maximum(page, line).astype(np.uint8))))


def photo(digit: npt.NDArray[np.uint8], rng: Rng) -> bytes:
    """A phone's photo: perspective, uneven light on warm paper, blur, noise, JPEG of quality 75.

    Corners move by up to 7 % of the digit's square; the darkest corner of the paper has 45 to 75 % of the light of the
    brightest; blur is 0.5 to 1.2 pixels, noise 3 to 8 of 255.
    """
    square = ink(digit, 160)
    moved = np.array([(0, 0), (0, 160), (160, 160), (160, 0)]) + rng.uniform(-0.07, 0.07, (4, 2)) * 160
    corner = rng.uniform(0, SIDE - 160, 2)
    target = moved + corner
    drawn = square.transform((SIDE, SIDE), Image.Transform.PERSPECTIVE, _perspective(target), Image.Resampling.BICUBIC)
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    angle, bend = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.5)
    ramp = np.cos(angle) * x + np.sin(angle) * y - bend * (x * x + y * y)
    ramp = (ramp - ramp.min()) / np.ptp(ramp)
    light = (1 - (1 - rng.uniform(0.45, 0.75)) * ramp)[..., None] * np.array([235, 228, 212])
    cover = np.asarray(drawn.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 1.2))))[..., None] / 255.0
    seen = light * (1 - cover * rng.uniform(0.65, 0.85)) + rng.normal(0, rng.uniform(3, 8), (SIDE, SIDE, 3))
    return saved(Image.fromarray(np.clip(np.rint(seen), 0, 255).astype(np.uint8)), "JPEG", quality=75)


def phone(digit: npt.NDArray[np.uint8], rng: Rng) -> bytes:
    """300 to 1500 pixels anywhere on 4000x3000: warm paper, light falling off to 60 %, noise of 5 of 255, JPEG."""
    width, height, side = 4000, 3000, int(rng.integers(300, 1501))
    page = Image.new("L", (width, height))
    page.paste(ink(digit, side), (int(rng.integers(0, width - side)), int(rng.integers(0, height - side))))
    light = (225 * (1 - 0.4 * np.linspace(0, 1, width))).astype(np.float32)
    gray = light * (1 - np.asarray(page) * np.float32(0.75 / 255))
    warm = gray[..., None] * np.array([1.04, 1.01, 0.94], dtype=np.float32)
    seen = warm + 5 * rng.standard_normal(warm.shape, dtype=np.float32)
    return saved(Image.fromarray(np.clip(np.rint(seen), 0, 255).astype(np.uint8)), "JPEG", quality=85)


def _perspective(target: npt.NDArray[np.float64]) -> list[float]:
    """Pillow's eight coefficients that map the square (0..160) to four corners, (x, y) each."""
    source = [(0, 0), (0, 160), (160, 160), (160, 0)]
    rows, right = [], []
    for (u, v), (x, y) in zip(source, target, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        right += [u, v]
    solved: list[float] = np.linalg.solve(np.array(rows), np.array(right)).tolist()
    return solved


def saved(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


FAMILIES: dict[str, Callable[[npt.NDArray[np.uint8], Rng], bytes]] = {
    "clean, 28 to 400 px": clean,
    "inverted": inverted,
    "JPEG, quality 30": jpeg,
    "large page, off-center": large_page,
    "photo": photo,
    "thick pen": thick,
    "thin pen": thin,
    "rotated to 15 degrees": rotated,
    "ruled line": ruled,
}

#: Families of other sizes at 200 pixels, for timing.
AT_200: dict[str, Callable[[npt.NDArray[np.uint8], Rng], bytes]] = {
    "clean, 28 to 400 px": lambda digit, rng: saved(on_paper(ink(digit, SIDE))),
    "large page, off-center": lambda digit, rng: large_page(digit, rng, SIDE),
}
LARGER: dict[str, Callable[[npt.NDArray[np.uint8], Rng], bytes]] = {
    "large page, 800x600": large_page,
    "phone photo, 4000x3000": phone,
}


def draw(family: str, digit: npt.NDArray[np.uint8], number: int) -> bytes:
    """The picture of one digit as a file's bytes; the number is the seed."""
    return FAMILIES[family](digit, np.random.default_rng([number, *family.encode()]))


def draw_to_time(family: str, digit: npt.NDArray[np.uint8], number: int) -> bytes:
    """The same at 200 pixels, for any family, or one of the larger pictures."""
    return {**FAMILIES, **AT_200, **LARGER}[family](digit, np.random.default_rng([number, *family.encode()]))
