"""The runtimes by name: which formats each opens, its kernel sets, and what to install.

Nothing is imported until a session is opened. An adapter only loads and runs; everything that is checked is checked
once, in :class:`edgedigits.runtimes.session.Session`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

from edgedigits.errors import RuntimeUnavailableError

if TYPE_CHECKING:  # `edgedigits doctor` reads this table also where NumPy is missing or broken
    from edgedigits.runtimes.tensors import AnyArray, TensorSpec


class Adapter(Protocol):
    """What a runtime's module provides as ``open_model(model, model_format, threads, kernels)``."""

    inputs: TensorSpec
    outputs: TensorSpec

    #: Where one image, (*shape,), is written and its logits, (classes,), are read, each in the artifact's own dtype:
    #: the runtime's own memory where it has such. Both stay where they are until ``close``.
    place: tuple[AnyArray, AnyArray]

    @property
    def invoke(self) -> Callable[[], object]:
        """Run the model on the image in its place, and leave the logits in theirs."""

    def run(self, x: AnyArray) -> AnyArray:
        """(n, *shape), C-contiguous, n >= 1 -> (n, classes), a fresh array; each in the artifact's own dtype."""

    def close(self) -> None:
        """Let go of the model."""


@dataclass(frozen=True)
class RuntimeInfo:
    """One runtime. ``package`` is what is imported, ``distribution`` what pip installs, as the extra ``name``."""

    name: str
    module: str
    package: str
    distribution: str
    install: str
    formats: tuple[str, ...]
    kernels: tuple[str, ...] = ("default",)
    kernels_round_only: bool = False

    def kernels_for(self, quantized: bool) -> tuple[str, ...]:
        """The kernel sets that can differ on an artifact; where only int8 rounding differs, float needs but one."""
        return self.kernels if quantized or not self.kernels_round_only else self.kernels[:1]

    @property
    def installed(self) -> bool:
        """Whether its package can be found; nothing is imported."""
        return find_spec(self.package) is not None

    @property
    def version(self) -> str | None:
        """The installed distribution's version, None where there is none."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version(self.distribution)
        except PackageNotFoundError:
            return None

    def require(self) -> None:
        """RuntimeUnavailableError, with the line to type, unless the runtime is installed."""
        if not self.installed:
            raise RuntimeUnavailableError(f"the runtime {self.name} is not installed; {self.install}")


TFLITE_KERNELS = ("default", "no-delegates", "reference")

# In the order in which one is chosen where none is named; tensorflow is never chosen.
RUNTIMES = {
    info.name: info
    for info in (
        RuntimeInfo(
            "litert",
            "edgedigits.runtimes.litert",
            "ai_edge_litert",
            "ai-edge-litert",
            "pip install 'edgedigits[litert]'",
            ("tflite",),
            TFLITE_KERNELS,
        ),
        RuntimeInfo(
            "tflite-runtime",
            "edgedigits.runtimes.tflite_runtime",
            "tflite_runtime",
            "tflite-runtime",
            "pip install 'edgedigits[tflite-runtime]' (Python 3.11 or older)",
            ("tflite",),
            TFLITE_KERNELS,
        ),
        RuntimeInfo(
            "onnxruntime",
            "edgedigits.runtimes.onnxruntime",
            "onnxruntime",
            "onnxruntime",
            "pip install 'edgedigits[onnxruntime]'",
            ("onnx",),
            ("default", "unoptimized"),
        ),
        RuntimeInfo(
            "numpy",
            "edgedigits.runtimes.oracle.arithmetic",
            "flatbuffers",
            "numpy",
            "pip install edgedigits",
            ("tflite",),
            ("reference", "ruy", "xnnpack", "exact"),
            kernels_round_only=True,
        ),
        RuntimeInfo(
            "tensorflow",
            "edgedigits.runtimes.tensorflow",
            "tensorflow",
            "tensorflow",
            "pip install 'edgedigits[export]'",
            ("tflite", "keras"),
            TFLITE_KERNELS,
        ),
    )
}
CHOSEN_ONLY_BY_NAME = ("tensorflow",)


def runtime_info(name: str) -> RuntimeInfo:
    """The runtime of that name; RuntimeUnavailableError lists the names otherwise."""
    try:
        return RUNTIMES[name]
    except KeyError:
        raise RuntimeUnavailableError(f"no runtime is called {name!r}; choose one of {', '.join(RUNTIMES)}") from None


def runtimes_for(model_format: str) -> tuple[str, ...]:
    """The names of the runtimes that open files of that format, in order of preference."""
    return tuple(name for name, info in RUNTIMES.items() if model_format in info.formats)
