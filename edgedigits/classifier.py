"""The Python API: a classifier that opens a bundle's artifact and answers with digits, probabilities or logits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NoReturn

import numpy as np

from edgedigits.bundle.bundle import Artifact, Bundle, reading_bundle
from edgedigits.bundle.dataset import SIDE, Labels, to_row
from edgedigits.errors import ModelError, RuntimeUnavailableError, SharingError
from edgedigits.runtimes.session import Session, not_copyable
from edgedigits.runtimes.table import CHOSEN_ONLY_BY_NAME, RUNTIMES, runtime_info
from edgedigits.runtimes.tensors import AnyArray, FloatArray


class Classifier:
    """A bundle's model, ready to run.

        with Classifier() as classifier:
            digit = classifier.predict(x)

    Args:
        bundle: a path, the name of a bundle inside the package (``robust``, ``notebook``), an open :class:`Bundle`, or
            None for ``robust``, which reads pictures best.
        artifact: such as ``"int8.tflite"`` or ``"int8"``; None for the first float32 one that ``runtime`` opens.
        runtime: such as ``"litert"``; None for the first installed one that opens the artifact, never TensorFlow.
        threads: how many the runtime may use for one call.
        kernels: the runtime's kernel set; None for its first, which it would choose itself.

    Attributes:
        artifact: the :class:`Artifact` in use.
        runtime: the runtime's name.

    Threads may share one: one call at a time runs, and any of them may close it. Processes may not: each opens its own,
    since a forked child's calls raise SharingError, as pickling or copying one does. Images that are not float32 of the
    exact shape take a slower, converting path.

    Raises:
        BundleError, RuntimeUnavailableError, ModelError: see the message, which says what to do.
    """

    def __init__(
        self,
        bundle: Bundle | Path | str | None = None,
        artifact: str | None = None,
        runtime: str | None = None,
        threads: int = 1,
        kernels: str | None = None,
    ) -> None:
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle(bundle or reading_bundle())
        self._temperature = np.float32(self.bundle.manifest.temperature)
        self.artifact, self.runtime = choose(self.bundle, artifact, runtime)
        self.session = open_artifact(self.bundle, self.artifact, self.runtime, threads=threads, kernels=kernels)
        #: The model's logits: (n,) or (20, 20) -> (classes,); (m, n) or (m, 20, 20) -> (m, classes); float32.
        #: A (20, 20) image is upright, rows from the top. InputError for any other shape or dtype, NaN or infinity;
        #: ClosedError after :meth:`close`. It is the session's own function: nothing stands in between.
        self.logits: Callable[[AnyArray], FloatArray] = self.session.run

    def predict(self, x: AnyArray) -> np.int64 | Labels:
        """The class of each image, the argmax of :meth:`logits`: one image -> an integer; m images -> (m,) int64."""
        digits: np.int64 | Labels = self.logits(x).argmax(axis=-1)
        return digits

    def probabilities(self, x: AnyArray) -> FloatArray:
        """The softmax of :meth:`logits` over the bundle's temperature, of the same shape: calibrated.

        The largest is that of the digit that :meth:`predict` gives: a temperature changes no order.
        """
        return softmax(self.logits(x) / self._temperature)

    def __reduce__(self) -> NoReturn:
        raise SharingError(not_copyable("classifier"))

    def close(self) -> None:
        """Free the model; further calls raise ClosedError."""
        self.session.close()

    def __enter__(self) -> Classifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _flatten(x: AnyArray) -> AnyArray:
    """Upright images (20, 20) or (m, 20, 20) to rows (400,) or (m, 400); all else is left as it is."""
    if x.ndim not in (2, 3) or x.shape[-2:] != (SIDE, SIDE):
        return x
    return to_row(x) if x.ndim == 2 else x.transpose(0, 2, 1).reshape(len(x), SIDE * SIDE)


def softmax(logits: FloatArray) -> FloatArray:
    """Logits (..., classes) to probabilities of the same shape; shifted by the maximum, so that nothing overflows."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: FloatArray = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return probabilities


def open_artifact(bundle: Bundle, artifact: Artifact, runtime: str, *, threads: int, kernels: str | None) -> Session:
    """Open a bundle's artifact, verified, and hold what the runtime reports against what the manifest says."""
    convert = _flatten if artifact.input.shape == (SIDE * SIDE,) else np.asarray
    model = bundle.read(artifact.file)
    session = Session(model, artifact.format, runtime, threads=threads, kernels=kernels, convert=convert)
    for promised, found in ((artifact.input, session.input), (artifact.output, session.output)):
        if not promised.matches(found):
            session.close()
            raise ModelError(
                f"{artifact.file}: the manifest promises {promised}, {runtime} finds {found}; export the bundle again"
            )
    return session


def choose(bundle: Bundle, artifact: str | None, runtime: str | None) -> tuple[Artifact, str]:
    """The artifact and the runtime to use where one or both are left open.

    Raises:
        RuntimeUnavailableError: nothing that is installed opens it; the message says what to install.
        BundleError: the bundle has no such artifact.
    """
    wanted = [bundle.artifact(artifact)] if artifact else sorted(bundle.manifest.artifacts, key=lambda a: a.quantized)
    if runtime:
        info = runtime_info(runtime)
        info.require()
        for candidate in wanted:
            if runtime in candidate.opened_by:
                return candidate, runtime
        raise RuntimeUnavailableError(
            f"{runtime} does not open {', '.join(a.file for a in wanted)}; choose another --artifact or --runtime"
        )
    usable = [info for name, info in RUNTIMES.items() if name not in CHOSEN_ONLY_BY_NAME]
    for info in usable:
        for candidate in wanted:
            if info.name in candidate.opened_by and info.installed:
                return candidate, info.name
    remedies = [i.install for i in usable if any(i.name in a.opened_by for a in wanted)]
    raise RuntimeUnavailableError(
        f"no runtime that opens {' or '.join(a.file for a in wanted)} is installed; {' or '.join(remedies)}"
    )
