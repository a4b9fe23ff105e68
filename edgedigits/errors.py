"""Exceptions. A message is one line: what is wrong, what was expected, what to do."""

from __future__ import annotations


class EdgeDigitsError(Exception):
    """Base class of all errors that edgedigits raises."""


class InputError(EdgeDigitsError, ValueError):
    """An array, a data file or a picture is not what was expected."""


class BundleError(EdgeDigitsError):
    """A bundle is missing, damaged, or of another schema."""


class SignatureError(BundleError):
    """A bundle is not signed, or not by a trusted key."""


class ModelError(EdgeDigitsError):
    """A runtime refused a model file, or the file does not do what its manifest says."""


class RuntimeUnavailableError(EdgeDigitsError):
    """A runtime (or another optional package) is not installed or cannot be used here."""


class ClosedError(EdgeDigitsError):
    """A session or classifier was used after it was closed."""


class SharingError(EdgeDigitsError):
    """A session or classifier was used in a forked child, or pickled."""


class ExportError(EdgeDigitsError):
    """A model cannot be exported."""
