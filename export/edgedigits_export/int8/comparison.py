"""Whether a tuned int8 file does harm: what it changes beside the converter's own file, also on inputs it never saw."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgedigits.parity.metrics import mismatched
from edgedigits.runtimes.session import Session
from edgedigits.runtimes.table import RUNTIMES
from edgedigits.runtimes.tensors import FloatArray
from edgedigits_export.int8.blends import blend, extrapolate
from edgedigits_export.int8.file import Scores

INPUTS = 2_000  # of each kind
SHARE = 0.999  # of them, whose outputs are compared; the worst of all says little about a file
ALLOWED = 2 / 256  # by how much more a probability may be off than in the converter's file: two int8 steps


class Comparison:
    """Compares files with the converter's own: on calibration inputs, and on new ones near them that no tuning sees.

    New inputs are blends of two, and extrapolations. Keras gives their outputs, so there can be as many as it takes to
    see a difference. They predict what held-out inputs do better than a fifth of the calibration set, spared for it.
    """

    def __init__(
        self,
        own: bytes,
        calibration: FloatArray,
        outputs_of: Callable[[FloatArray], FloatArray],
        scores: Scores,
        probabilities: bool,
        seed: int,
    ) -> None:
        """own: the converter's file. outputs_of: Keras's outputs. probabilities: whether these are probabilities."""
        rng = np.random.default_rng((seed, INPUTS))  # not that of the tuning
        some = calibration[rng.permutation(len(calibration))[:INPUTS]]
        kinds = some, blend(some, INPUTS, rng), extrapolate(some, INPUTS, rng)
        self._kinds = [(inputs, outputs_of(inputs)) for inputs in kinds]
        self._scores, self._probabilities = scores, probabilities
        self._own = self._changes(own)

    def harm(self, content: bytes) -> str:
        """In what a full-integer file is worse than the converter's, as a part of a sentence; empty if in nothing."""
        (flips, *unseen), errors = self._changes(content)
        (own_flips, *own_unseen), own_errors = self._own
        if flips > own_flips:
            return f"tuning flips {flips} of {len(self._kinds[0][0])} inputs, the converter {own_flips}"
        if sum(unseen) > sum(own_unseen):
            return (
                f"tuning flips {sum(unseen)} of {2 * INPUTS} unseen blends and extrapolations of inputs, the converter "
                f"{sum(own_unseen)}"
            )
        for error, own_error in zip(errors, own_errors, strict=True):
            if self._probabilities and error > own_error + ALLOWED:
                return f"tuning moves probabilities by up to {error:.2f}, the converter by {own_error:.2f}"
        return ""

    def _changes(self, content: bytes) -> tuple[list[int], list[float]]:
        """For each kind of input, how many predicted classes differ from Keras's, and by how much outputs do."""
        runtime = RUNTIMES["litert" if RUNTIMES["litert"].installed else "tensorflow"]
        flips, errors = [], []
        with Session(content, "tflite", runtime.name) as session:
            for inputs, expected in self._kinds:
                outputs = np.stack([session.run(row) for row in inputs])
                flips.append(len(mismatched(self._scores(outputs), self._scores(expected))))
                errors.append(float(np.quantile(np.abs(outputs - expected).max(axis=1), SHARE)))
        return flips, errors
