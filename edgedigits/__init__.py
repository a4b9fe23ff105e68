"""Run an exported classifier on a device, check its results against the trained model, and time it."""

from __future__ import annotations

TYPE_CHECKING = False  # to a type checker it is true; importing typing would take a command's first milliseconds
if TYPE_CHECKING:
    from edgedigits.bundle.bundle import Bundle
    from edgedigits.classifier import Classifier
    from edgedigits.errors import EdgeDigitsError
    from edgedigits.pictures.predictions import Reading

__version__ = "0.1.0"
__all__ = ["Bundle", "Classifier", "EdgeDigitsError", "Reading", "__version__"]

_HOME = {
    "Bundle": "edgedigits.bundle.bundle",
    "Classifier": "edgedigits.classifier",
    "EdgeDigitsError": "edgedigits.errors",
    "Reading": "edgedigits.pictures.predictions",
}


def __getattr__(name: str) -> object:
    # Imported on first use: `edgedigits --version` must not pay for NumPy.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
