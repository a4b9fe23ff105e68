"""The runtimes by name: what each opens, its kernel sets, and how to install it.

Importing this module loads no runtime, and not NumPy either: `edgedigits doctor` uses it where those are broken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

from edgedigits.errors import RuntimeUnavailableError

if TYPE_CHECKING:
    from edgedigits.runtimes.tensors import AnyArray, TensorSpec


class Adapter(Protocol):
    """What a runtime's module returns from ``open_model(model, model_format, threads, kernels)``.

    An adapter only loads and runs; :class:`edgedigits.runtimes.session.Session` does the checks.
    """

    inputs: TensorSpec
    outputs: TensorSpec

    #: The input (*shape,) and output (classes,) of one image, in the artifact's dtypes: the runtime's own memory where
    #: it gives access to it. Their addresses do not change until ``close``.
    buffers: tuple[AnyArray, AnyArray]

    #: Run the model from the input buffer to the output buffer.
    invoke: Callable[[], object]

    def run(self, x: AnyArray) -> AnyArray:
        """Run a C-contiguous batch (n, *shape), n >= 1; returns a new array (n, classes). In the artifact's dtypes."""

    def close(self) -> None:
        """Free the model."""


@dataclass(frozen=True)
class RuntimeInfo:
    """One runtime.

    Attributes:
        module: the adapter's, relative to this package.
        package: the import name.
        formats: the file name extensions of the models that it opens.
        kernels: its kernel sets, the default first.
        command: the install command, if it is not ``pip install DISTRIBUTION``.
        kernels_round_only: whether its kernel sets differ only in int8 rounding.
    """

    name: str
    module: str
    package: str
    distribution: str
    formats: tuple[str, ...]
    kernels: tuple[str, ...]
    command: str = ""
    kernels_round_only: bool = False

    def kernels_for(self, quantized: bool) -> tuple[str, ...]:
        """The kernel sets that can give different results for a float32 or a quantized artifact."""
        return self.kernels if quantized or not self.kernels_round_only else self.kernels[:1]

    @property
    def install(self) -> str:
        """The command that installs it."""
        return self.command or f"pip install {self.distribution}"

    @property
    def installed(self) -> bool:
        """Whether its package can be found; does not import it."""
        return find_spec(self.package) is not None

    @property
    def version(self) -> str | None:
        """The version of the installed distribution; None without metadata."""
        return distribution_version(self.distribution)

    def require(self) -> None:
        """Raise RuntimeUnavailableError with the install command if the runtime is not installed."""
        if not self.installed:
            raise RuntimeUnavailableError(f"the runtime {self.name} is not installed; {self.install}")


_TFLITE_KERNELS = ("default", "no-delegates", "reference")
_NUMPY_KERNELS = ("reference", "ruy", "xnnpack", "exact")
_CLASSIC = ("tflite-runtime", "tflite_runtime", "tflite_runtime", "tflite-runtime", ("tflite",), _TFLITE_KERNELS)
_NUMPY = ("numpy", "oracle.arithmetic", "flatbuffers", "numpy", ("tflite",), _NUMPY_KERNELS)
_TABLE = (
    RuntimeInfo("litert", "litert", "ai_edge_litert", "ai-edge-litert", ("tflite",), _TFLITE_KERNELS),
    RuntimeInfo(*_CLASSIC, command="pip install tflite-runtime 'numpy<2' (Python 3.11 or older)"),
    RuntimeInfo("onnxruntime", "onnxruntime", "onnxruntime", "onnxruntime", ("onnx",), ("default", "unoptimized")),
    RuntimeInfo(*_NUMPY, command="pip install flatbuffers", kernels_round_only=True),
    RuntimeInfo("tensorflow", "tensorflow", "tensorflow", "tensorflow", ("tflite", "keras"), _TFLITE_KERNELS),
)
#: In order of preference.
RUNTIMES = {info.name: info for info in _TABLE}
CHOSEN_ONLY_BY_NAME = ("tensorflow",)  # large and slow to import, so never a default


def distribution_version(name: str) -> str | None:
    """The version of an installed distribution; None without metadata."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def runtime_info(name: str) -> RuntimeInfo:
    """The runtime of that name; RuntimeUnavailableError lists the names otherwise."""
    try:
        return RUNTIMES[name]
    except KeyError:
        raise RuntimeUnavailableError(f"no runtime is called {name!r}; choose one of {', '.join(RUNTIMES)}") from None


def missing_text(names: Iterable[str]) -> list[str]:
    """One line that names the runtimes that are not installed, without those that no device needs; else none."""
    shown = [name for name in dict.fromkeys(names) if name not in CHOSEN_ONLY_BY_NAME]
    return [f"not installed: {', '.join(shown)}; `edgedigits doctor` shows how to install them"] if shown else []


def runtimes_for(model_format: str) -> tuple[str, ...]:
    """The names of the runtimes that open files of that format, in order of preference."""
    return tuple(name for name, info in RUNTIMES.items() if model_format in info.formats)
