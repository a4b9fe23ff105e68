from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import pytest
from PIL import Image

from edgedigits.pictures.preprocessing import Preprocessed, preprocess


@pytest.fixture(scope="session")
def preprocess_image() -> Callable[[Image.Image], Preprocessed]:
    """Preprocess a picture in memory, saved as PNG."""

    def run(picture: Image.Image) -> Preprocessed:
        stream = BytesIO()
        picture.save(stream, "PNG")
        return preprocess(stream)

    return run
