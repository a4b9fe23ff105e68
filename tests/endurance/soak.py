"""One process of the soak: ``python soak.py ARTIFACT RUNTIME CALLS`` prints what it counted as JSON.

Half of the calls come from the main thread, half from four threads that share its classifier. Every result must equal
the first one for the same digit, bit for bit. A few calls in a hundred pass a batch, a float64 image or a bad input.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
from collections.abc import Sequence

import numpy as np

from edgedigits.bundle.bundle import Bundle
from edgedigits.bundle.dataset import to_image
from edgedigits.classifier import Classifier
from edgedigits.errors import InputError
from edgedigits.runtimes.tensors import FloatArray
from edgedigits.system.resources import memory_in_use

DIGITS, THREADS = 97, 4
WARM_UP = 0.05  # of the calls; after it allocators and threads need no more memory


class Soak:
    """A shared classifier, the expected results and the counts."""

    def __init__(self, classifier: Classifier, rows: FloatArray) -> None:
        self.classifier, self.rows = classifier, list(rows)
        self.expected = [classifier.logits(row).tobytes() for row in self.rows]
        self.batch, self.batch_expected = rows[:8], classifier.logits(rows[:8]).tobytes()
        self.image = to_image(rows[0]).astype(np.float64)
        self.image_expected = classifier.logits(self.image).tobytes()
        self.calls = self.wrong = 0
        self._counting = threading.Lock()

    def run(self, calls: int) -> None:
        logits, each = self.classifier.logits, list(zip(self.rows, self.expected, strict=True))
        done = wrong = 0
        while done < calls:
            for row, expected in each:
                wrong += logits(row).tobytes() != expected
            wrong += logits(self.batch).tobytes() != self.batch_expected
            wrong += logits(self.image).tobytes() != self.image_expected
            wrong += not self._refuses()
            done += DIGITS + 3
        with self._counting:
            self.calls += done
            self.wrong += wrong

    def _refuses(self) -> bool:
        try:
            self.classifier.logits(np.full(len(self.rows[0]), np.nan, np.float32))
        except InputError:
            return True
        return False

    def shared(self, calls: int) -> None:
        threads = [threading.Thread(target=self.run, args=(calls // THREADS,)) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def resident() -> int:
    gc.collect()
    return memory_in_use(os.getpid())


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def main(arguments: Sequence[str]) -> None:
    artifact, runtime, calls = arguments[0], arguments[1], int(arguments[2])
    bundle = Bundle("robust")
    with Classifier(bundle, artifact, runtime) as classifier:
        soak = Soak(classifier, bundle.inputs()[0][:DIGITS].copy())
        soak.run(int(calls * WARM_UP))
        soak.shared(int(calls * WARM_UP))
        warm, opened = resident(), descriptors()
        soak.run(int(calls * (0.5 - WARM_UP)))
        soak.shared(int(calls * (0.5 - WARM_UP)))
        grown, left = resident() - warm, descriptors() - opened
    sys.stdout.write(json.dumps({"calls": soak.calls, "wrong": soak.wrong, "grown": grown, "left": left}))


if __name__ == "__main__":
    main(sys.argv[1:])
