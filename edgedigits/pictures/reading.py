"""From a picture to the model's input, as the contract says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from edgedigits.bundle.contract import Contract
from edgedigits.errors import InputError
from edgedigits.runtimes.tensors import AnyArray

if TYPE_CHECKING:
    from PIL.Image import Image

    from edgedigits.pictures.plain import PlainPicture
    from edgedigits.pictures.preprocessing import Preprocessed


def read_picture(
    source: Path | BinaryIO | Image | AnyArray, contract: Contract, name: str | None = None
) -> Preprocessed | PlainPicture:
    """A picture (a file, a seekable stream, a Pillow image or a uint8 array) as the model's input.

    InputError, which starts with the name (by default the path), if it cannot be read, shows no digit although the
    model reads digits, or if the model takes no pictures.
    """
    name = name or (str(source) if isinstance(source, Path) else "the picture")
    if contract.pictures == "none":
        raise InputError(f"{name}: the model takes no pictures; give it float32 arrays of shape {contract.shape}")
    if contract.pictures == "digits":
        from edgedigits.pictures.preprocessing import preprocess

        return preprocess(source, name)
    from edgedigits.pictures.plain import read_plain

    try:
        return read_plain(source, contract)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error.__cause__
