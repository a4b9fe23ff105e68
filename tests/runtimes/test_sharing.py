"""Threads may share a classifier; forked processes and pickles may not."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable

import numpy as np
import pytest

from edgedigits.classifier import Classifier
from edgedigits.errors import ClosedError, SharingError
from edgedigits.runtimes.table import RUNTIMES
from edgedigits.runtimes.tensors import FloatArray

HERE = [name for name in ("litert", "tflite-runtime", "onnxruntime", "numpy") if RUNTIMES[name].installed]
# Fork repeatedly while a thread uses the classifier, so that its lock is held in some children. Each child calls it in
# three ways, opens its own classifier, and exits normally.
FORK = """
import os, signal, sys, threading
import numpy as np
from edgedigits.classifier import Classifier
from edgedigits.errors import SharingError

row, rows = np.zeros(400, np.float32), np.zeros((3, 400), np.float32)
shared = Classifier("robust", runtime=sys.argv[1], threads=2)
expected = shared.logits(row)
stop = threading.Event()

def keep_busy():
    while not stop.is_set():
        shared.logits(row)
        shared.logits(rows)

def call_in_child():
    for call in (lambda: shared.logits(row), lambda: shared.predict(rows), shared.session.invoke):
        try:
            call()
        except SharingError as error:
            assert "opened before the process forked; open one in each process" in str(error), error
        else:
            return 3
    shared.close()
    with Classifier("robust", runtime=sys.argv[1]) as own:
        return 0 if (own.logits(row) == expected).all() else 4

thread = threading.Thread(target=keep_busy, daemon=True)
thread.start()
for _ in range(8):
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # a deadlocked child would wait forever
        sys.exit(call_in_child())
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == 0, status
stop.set()
thread.join()
assert (shared.logits(row) == expected).all()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
@pytest.mark.parametrize("runtime", HERE)
def test_a_forked_child_must_open_its_own(runtime: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK, runtime], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("take", [pickle.dumps, copy.copy, copy.deepcopy], ids=lambda take: take.__name__)
def test_neither_pickled_nor_copied(take: Callable[[object], object]) -> None:
    with Classifier(runtime="numpy") as classifier:
        for what, name in ((classifier, "classifier"), (classifier.session, "session")):
            with pytest.raises(SharingError, match=rf"a {name} cannot be pickled or copied, .*; open one in each"):
                take(what)


def test_any_thread_may_close_it(x: FloatArray) -> None:
    """Calls in other threads give correct results before, and raise ClosedError after."""
    classifier = Classifier(runtime="numpy")
    expected = classifier.logits(x[0])
    ends: list[str] = []

    def call() -> None:
        try:
            while True:
                np.testing.assert_array_equal(classifier.logits(x[0]), expected)
        except ClosedError as error:
            ends.append(str(error))

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    classifier.close()
    for thread in threads:
        thread.join()
    assert len(ends) == 4
