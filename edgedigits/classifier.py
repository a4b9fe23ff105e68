"""The Python API: a classifier that runs a bundle's model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, overload

import numpy as np

from edgedigits.bundle.bundle import Artifact, Bundle, reading_bundle
from edgedigits.bundle.contract import Contract
from edgedigits.bundle.dataset import Labels
from edgedigits.errors import InputError, ModelError, RuntimeUnavailableError, SharingError
from edgedigits.runtimes.session import LARGEST_FLOAT, Session, not_copyable
from edgedigits.runtimes.table import CHOSEN_ONLY_BY_NAME, RUNTIMES, runtime_info
from edgedigits.runtimes.tensors import AnyArray, FloatArray

if TYPE_CHECKING:
    from PIL.Image import Image

    from edgedigits.pictures.predictions import Reading

FAR = 10.0  # times the largest trained value: an input that exceeds it was not scaled as the training data were


class Classifier:
    """Runs a bundle's model.

        with Classifier() as classifier:
            digit = classifier.predict(x)

    ``bundle`` is a path, the name of a packaged bundle (``robust``, the default, or ``notebook``) or an open bundle.
    By default the first float32 artifact with an installed runtime is used, never in TensorFlow. ``threads`` applies
    to one call. Threads may share a classifier; calls run one at a time. Raises BundleError, RuntimeUnavailableError or
    ModelError when it is opened, and SharingError if it is pickled or used in a forked child.

    Every method takes float32 (or float64) inputs as the model was trained on, or uint8 pixels, 0 to 255, which are
    scaled as the bundle's contract says. InputError for another shape or dtype, NaN, infinity, or values far outside
    the trained range; ClosedError after :meth:`close`.
    """

    def __init__(
        self,
        bundle: Bundle | Path | str | None = None,
        artifact: str | None = None,
        runtime: str | None = None,
        threads: int = 1,
        kernels: str | None = None,
    ) -> None:
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle(reading_bundle() if bundle is None else bundle)
        self._contract = self.bundle.manifest.contract
        self.artifact, self.runtime = choose_model(self.bundle, artifact, runtime)
        self.session = open_artifact(
            self.bundle,
            self.artifact,
            self.runtime,
            threads=threads,
            kernels=kernels,
            convert=partial(convert_input, self._contract),
            most_energy=most_energy(self._contract),
        )
        # Found before the method of the same name, which would cost a call in two microseconds.
        vars(self)["logits"] = self.session.run

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, by index."""
        return self.bundle.manifest.labels

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return self._contract.shape

    def logits(self, x: AnyArray | Sequence[Any]) -> FloatArray:
        """The model's outputs, float32: (classes,) for one input (*input_shape,), (m, classes) for (m, *input_shape).

        A sigmoid model outputs one value instead of the classes. Gray pictures, (h, w) or (m, h, w), are taken too.
        """
        return self.session.run(np.asarray(x))

    @overload
    def predict(self, x: Sequence[float]) -> np.int64: ...

    @overload
    def predict(self, x: AnyArray | Sequence[Sequence[float]]) -> Labels: ...

    def predict(self, x: AnyArray | Sequence[Any]) -> np.int64 | Labels:
        """The index of the predicted class: one input -> an int64; m inputs -> (m,) int64.

        Type checkers do not know an array's shape and take the result for (m,), of which ``int(...)`` is allowed too.
        """
        classes: np.int64 | Labels = self._contract.scores(self.logits(x)).argmax(axis=-1)
        return classes

    def probabilities(self, x: AnyArray | Sequence[Any]) -> FloatArray:
        """Probabilities of the classes, (classes,) or (m, classes): the model's own, or from its calibrated logits."""
        return self._contract.probabilities(self.logits(x), self.bundle.manifest.temperature)

    def read(self, picture: Path | str | bytes | Image | AnyArray, top: int = 3) -> Reading:
        """The class of one picture, with its probability, the ``top`` most probable classes and reasons to doubt it.

        ``picture`` is the path of a file, a file's bytes, a Pillow image or a uint8 array (height, width), or with 3 or
        4 channels, of any size. An array of floats is one input, as in :meth:`predict`. InputError if the picture
        cannot be read or shows no digit, or if the model takes no pictures.
        """
        from edgedigits.pictures.predictions import to_reading

        if not isinstance(top, int | np.integer) or top < 1:
            raise InputError(f"top is {top!r:.60}; expected a whole number, 1 or more")
        reasons: tuple[str, ...] = ()
        if isinstance(picture, np.ndarray) and picture.dtype.kind == "f":
            x = picture
        else:
            from edgedigits.pictures.reading import read_picture

            source = BytesIO(picture) if isinstance(picture, bytes) else picture
            source = Path(source) if isinstance(source, str) else source
            if (
                not isinstance(source, Path | np.ndarray)
                and not hasattr(source, "read")
                and not hasattr(source, "convert")
            ):
                found = f"{picture!r:.60}"
                raise InputError(f"{found} is no picture; expected a path, bytes, a Pillow image or a uint8 array")
            steps = read_picture(source, self._contract)
            x, reasons = steps.row, steps.implausibilities
        probabilities = self.probabilities(convert_input(self._contract, x))  # which checks every value
        if probabilities.ndim != 1:
            raise InputError(f"the array has shape {x.shape}; read takes one picture, use predict for several inputs")
        return to_reading(probabilities.tolist(), reasons, self.labels, self._contract, top)

    def __repr__(self) -> str:
        name, file, classes = self.bundle.manifest.name, self.artifact.file, len(self.labels)
        return f"<Classifier {name}: {file} in {self.runtime}, inputs {self.input_shape}, {classes} classes>"

    def __reduce__(self) -> NoReturn:
        raise SharingError(not_copyable("classifier"))

    def close(self) -> None:
        """Free the model; further calls raise ClosedError."""
        self.session.close()

    def __enter__(self) -> Classifier:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def convert_input(contract: Contract, x: AnyArray) -> AnyArray:
    """An array as the model's input: uint8 pixels are scaled, gray pictures are laid out.

    InputError if a value is more than ``FAR`` times as large as any that the model was trained on.
    """
    if x.dtype == np.uint8 and contract.pictures != "none":
        x = x.astype(np.float32) / np.float32(contract.pixel_scale)
    if x.dtype.kind == "f" and x.size:
        found, trained = float(np.abs(x).max()), largest_trained(contract)
        if FAR * trained < found < math.inf:
            raise InputError(
                f"the input reaches {found:.6g}, but the model was trained on values from {contract.minimum:.4g} to "
                f"{contract.maximum:.4g}; {_likely_cause(found, trained, contract)}"
            )
    return contract.to_input(x)


def largest_trained(contract: Contract) -> float:
    """The largest absolute value that the model was trained on; infinity if the bundle does not say."""
    if contract.minimum is None or contract.maximum is None:
        return math.inf
    return max(abs(contract.minimum), abs(contract.maximum)) or math.inf


def _likely_cause(found: float, trained: float, contract: Contract) -> str:
    if contract.pictures == "plain" and 255.0 / contract.scale > FAR * trained:
        return f"the bundle divides pixels by {contract.scale:g}: export it again with the scale of its training data"
    if not 100 < found / trained < 300:
        return "scale it as the training data were"
    remedy = "divide them by 255" + (", or pass them as uint8" if contract.pictures != "none" else "")
    return f"these are probably pixels from 0 to 255: {remedy}"


def most_energy(contract: Contract) -> float:
    """The largest sum of squares of one input within the trained range, above which its values are checked."""
    largest = largest_trained(contract)
    return min(math.prod(contract.shape) * largest * largest, LARGEST_FLOAT)


def open_artifact(
    bundle: Bundle,
    artifact: Artifact,
    runtime: str,
    *,
    threads: int,
    kernels: str | None,
    convert: Callable[[AnyArray], AnyArray] | None = None,
    most_energy: float = LARGEST_FLOAT,
) -> Session:
    """Verify and open a bundle's artifact; ModelError if its input, output or classes differ from the manifest.

    ``convert`` and ``most_energy`` are those of :class:`Session`; by default pictures are laid out as inputs.
    """
    contract, labels = bundle.manifest.contract, len(bundle.manifest.labels)
    classes = artifact.output.elements + (contract.output == "sigmoid")
    if classes != labels:
        raise ModelError(
            f"{artifact.file}: it tells {classes} classes apart, the manifest names {labels}; export the bundle again"
        )
    session = Session(
        bundle.read(artifact.file),
        artifact.format,
        runtime,
        threads=threads,
        kernels=kernels,
        convert=convert or contract.to_input,
        most_energy=most_energy,
    )
    for expected, found in ((artifact.input, session.input), (artifact.output, session.output)):
        if not expected.matches(found):
            session.close()
            raise ModelError(
                f"{artifact.file}: the manifest says {expected}, {runtime} reports {found}; export the bundle again"
            )
    return session


def choose_model(bundle: Bundle, artifact: str | None, runtime: str | None) -> tuple[Artifact, str]:
    """The artifact and the runtime to use where one or both are None, float32 before quantized.

    Of several artifacts with the same name before the suffix, the first that a runtime opens is used.
    RuntimeUnavailableError if no installed runtime opens it, BundleError if there is no such artifact.
    """
    wanted = bundle.artifacts(artifact) if artifact else sorted(bundle.manifest.artifacts, key=lambda a: a.quantized)
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
        raise RuntimeUnavailableError(f"{runtime} does not open {files}; choose another artifact or runtime")
    remedies = [info.install for info in infos if any(info.name in candidate.opened_by for candidate in wanted)]
    raise RuntimeUnavailableError(f"no installed runtime opens {files}; {' or '.join(remedies)}")
