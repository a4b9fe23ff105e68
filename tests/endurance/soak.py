"""One process of the soak: ``python soak.py ARTIFACT RUNTIME CALLS`` prints what it saw as JSON.

Half of the calls come from the main thread, half from four threads that share the same classifier with it. Every answer
is held against the first one on the same digit, bit for bit. A few calls in a hundred take the slower ways: batches,
images, float64, and refused ones.
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

DIGITS, THREADS, ROUND = 97, 4, 500  # a prime, so that no rhythm of a runtime meets it
WARM_UP = 0.05  # of the calls; allocators and threads have what they want after it


class Soak:
    """A shared classifier, the answers that are expected, and what was counted."""

    def __init__(self, classifier: Classifier, rows: FloatArray) -> None:
        self.classifier, self.rows = classifier, list(rows)
        self.expected = [classifier.logits(row).tobytes() for row in self.rows]
        self.digit = int(np.frombuffer(self.expected[0], np.float32).argmax())
        self.batch, self.batch_expected = rows[:8], classifier.logits(rows[:8]).tobytes()
        self.image = to_image(rows[0]).astype(np.float64)
        self.image_expected = classifier.logits(self.image).tobytes()
        self.calls = self.wrong = 0
        self._counting = threading.Lock()

    def run(self, calls: int) -> None:
        logits, each = self.classifier.logits, list(zip(self.rows, self.expected, strict=True))
        done = wrong = 0
        while done < calls:
            for _ in range(ROUND // DIGITS + 1):
                for row, expected in each:
                    if logits(row).tobytes() != expected:
                        wrong += 1
                done += DIGITS
            wrong += logits(self.batch).tobytes() != self.batch_expected
            wrong += logits(self.image).tobytes() != self.image_expected
            wrong += int(self.classifier.predict(self.rows[0])) != self.digit
            wrong += not self._refuses()
            done += 4
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
    """Bytes of memory that this process has in use, from /proc (Linux), less the pages of mapped files.

    Those, such as a library's code, come and go with what else the machine does.
    """
    gc.collect()
    with open("/proc/self/status", encoding="ascii") as file:  # noqa: PTH123 # no path object more or less
        (line,) = (line for line in file if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024


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
