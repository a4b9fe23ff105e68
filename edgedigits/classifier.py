"""The Python API: a classifier that runs a bundle's model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np

from edgedigits.bundle.bundle import Artifact, Bundle, reading_bundle
from edgedigits.bundle.dataset import Labels
from edgedigits.errors import ModelError, RuntimeUnavailableError, SharingError
from edgedigits.runtimes.session import Session, not_copyable
from edgedigits.runtimes.table import CHOSEN_ONLY_BY_NAME, RUNTIMES, runtime_info
from edgedigits.runtimes.tensors import AnyArray, FloatArray


class Classifier:
    """Runs a bundle's model.

        with Classifier() as classifier:
            digit = classifier.predict(x)

    ``bundle`` is a path, the name of a packaged bundle (``robust``, the default, or ``notebook``) or an open bundle.
    By default the first float32 artifact with an installed runtime is used, never in TensorFlow. ``threads`` applies
    to one call. Threads may share a classifier; calls run one at a time. Raises BundleError, RuntimeUnavailableError or
    ModelError when it is opened, and SharingError if it is pickled or used in a forked child.
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
        self._contract = self.bundle.manifest.contract
        self.artifact, self.runtime = choose_model(self.bundle, artifact, runtime)
        self.session = open_artifact(self.bundle, self.artifact, self.runtime, threads=threads, kernels=kernels)
        #: Logits: (n,) or upright (20, 20) -> (classes,); (m, n) or (m, 20, 20) -> (m, classes); float32.
        #: InputError for another shape or dtype, NaN or infinity; ClosedError after :meth:`close`.
        self.logits: Callable[[AnyArray], FloatArray] = self.session.run

    def predict(self, x: AnyArray) -> np.int64 | Labels:
        """The predicted class, the argmax of :meth:`logits`: one image -> an int64; m images -> (m,) int64."""
        classes: np.int64 | Labels = self._contract.scores(self.logits(x)).argmax(axis=-1)
        return classes

    def probabilities(self, x: AnyArray) -> FloatArray:
        """Probabilities of the classes, (classes,) or (m, classes): the model's own, or from its calibrated logits."""
        return self._contract.probabilities(self.logits(x), self.bundle.manifest.temperature)

    def __reduce__(self) -> NoReturn:
        raise SharingError(not_copyable("classifier"))

    def close(self) -> None:
        """Free the model; further calls raise ClosedError."""
        self.session.close()

    def __enter__(self) -> Classifier:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def open_artifact(bundle: Bundle, artifact: Artifact, runtime: str, *, threads: int, kernels: str | None) -> Session:
    """Verify and open a bundle's artifact; ModelError if its input or output differs from the manifest."""
    model, convert = bundle.read(artifact.file), bundle.manifest.contract.to_input
    session = Session(model, artifact.format, runtime, threads=threads, kernels=kernels, convert=convert)
    for expected, found in ((artifact.input, session.input), (artifact.output, session.output)):
        if not expected.matches(found):
            session.close()
            raise ModelError(
                f"{artifact.file}: the manifest says {expected}, {runtime} reports {found}; export the bundle again"
            )
    return session


def choose_model(bundle: Bundle, artifact: str | None, runtime: str | None) -> tuple[Artifact, str]:
    """The artifact and the runtime to use where one or both are None, float32 before quantized.

    RuntimeUnavailableError if no installed runtime opens it, BundleError if there is no such artifact.
    """
    wanted = [bundle.artifact(artifact)] if artifact else sorted(bundle.manifest.artifacts, key=lambda a: a.quantized)
    files = " or ".join(candidate.file for candidate in wanted)
    infos = [info for name, info in RUNTIMES.items() if name not in CHOSEN_ONLY_BY_NAME]
    if runtime:
        infos = [runtime_info(runtime)]
        infos[0].require()
    for info in infos:
        for candidate in wanted:
            if info.name in candidate.opened_by and info.installed:
                return candidate, info.name
    if runtime:
        raise RuntimeUnavailableError(f"{runtime} does not open {files}; choose another --artifact or --runtime")
    remedies = [info.install for info in infos if any(info.name in candidate.opened_by for candidate in wanted)]
    raise RuntimeUnavailableError(f"no installed runtime opens {files}; {' or '.join(remedies)}")
