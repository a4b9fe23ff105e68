"""Everything that can run this network: how to open each library's call for one image, and what it needs."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overhead import bare
from side_by_side import in_child

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from side_by_side import FloatArray

    from edgedigits.bundle.bundle import Bundle

    Call = Callable[[FloatArray], FloatArray]
    Block = Callable[[Sequence[FloatArray]], float]
    Weights = list[npt.NDArray[np.float32]]

MODEL = "float32.tflite"


def ours(bundle: Bundle, artifact: str) -> Call:
    from edgedigits import Classifier

    return Classifier(bundle, artifact, "litert").logits


def compiled_model(bundle: Bundle) -> Call:
    """The API that litert-benchmark times; each call writes an image and reads the logits."""
    import numpy as np
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.hardware_accelerator import HardwareAccelerator
    from ai_edge_litert.options import CpuOptions, Options

    options = Options(hardware_accelerators=HardwareAccelerator.CPU, cpu_options=CpuOptions(num_threads=1))
    model = CompiledModel.from_buffer(bundle.read(MODEL), options=options)
    (signature,) = model.get_signature_list()
    (given,), (got,) = model.get_input_tensor_details(signature), model.get_output_tensor_details(signature)
    source, target = (
        model.create_input_buffer_by_name(signature, given),
        model.create_output_buffer_by_name(signature, got),
    )
    inputs, outputs = {given: source}, {got: target}

    def logits(x: FloatArray) -> FloatArray:
        source.write(x)
        model.run_by_name(signature, inputs, outputs)
        return target.read(10, np.float32)  # type: ignore[no-any-return]

    return logits


def onnx_with_defaults(bundle: Bundle) -> Call:
    """With the default options: one thread per core, and idle threads spin."""
    import onnxruntime

    session = onnxruntime.InferenceSession(bundle.read("float32.onnx"), providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0].name
    return lambda x: session.run(None, {given: x[None]})[0][0]


def polygraphy(bundle: Bundle) -> Call:
    import onnxruntime
    from polygraphy.backend.onnxrt import OnnxrtRunner

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model = bundle.read("float32.onnx")
    runner = OnnxrtRunner(onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]))
    runner.activate()
    (given,), got = runner.get_input_metadata(), bundle.artifact("float32.onnx").output.name
    return lambda x: runner.infer({given: x[None]})[got][0]


def weights_of(bundle: Bundle) -> Weights:
    """The kernel (inputs, outputs) and bias of each layer, read from the float32 artifact."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=bundle.read(MODEL), experimental_op_resolver_type=plain)
    interpreter.allocate_tensors()
    shapes = {tuple(t["shape"]): t["index"] for t in interpreter.get_tensor_details()}
    weights = []
    for inputs, outputs in ((400, 25), (25, 15), (15, 10)):
        kernel = interpreter.get_tensor(shapes[outputs, inputs]).T
        weights += [np.ascontiguousarray(kernel), interpreter.get_tensor(shapes[outputs,])]
    return weights


def numpy_pass(bundle: Bundle) -> Call:
    import numpy as np

    w1, b1, w2, b2, w3, b3 = weights_of(bundle)
    maximum, zero = np.maximum, np.float32(0)

    def logits(x: FloatArray) -> FloatArray:
        hidden = maximum(x @ w1 + b1, zero)
        hidden = maximum(hidden @ w2 + b2, zero)
        logits: FloatArray = hidden @ w3 + b3
        return logits

    return logits


def keras_model(bundle: Bundle) -> Any:
    import tensorflow as tf

    from edgedigits_export.training.model import build

    tf.config.threading.set_intra_op_parallelism_threads(1)
    weights = weights_of_in_child()
    model = build()
    model.set_weights(weights)
    return model


def weights_of_in_child() -> Weights:
    """In a process of its own: TensorFlow contains TFLite too, and two builds in one process can conflict."""
    import numpy as np

    return [np.array(w, np.float32) for w in in_child(str(Path(__file__).with_name("peers.py")), {"rival": "weights"})]


def keras_predict(bundle: Bundle) -> Call:
    model = keras_model(bundle)
    return lambda x: model.predict(x[None], verbose=0)[0]


def keras_call(bundle: Bundle) -> Call:
    model = keras_model(bundle)
    return lambda x: model(x[None]).numpy()[0]


@contextmanager
def dense_c(bundle: Bundle) -> Iterator[tuple[Call, Block]]:
    """The lower bound: compiled C, timed within C."""
    import numpy as np

    kept = weights_of(bundle)

    def pointer(array: FloatArray) -> ctypes.c_void_p:
        return ctypes.c_void_p(array.ctypes.data)

    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "dense.so"
        source = Path(__file__).with_name("dense.c")
        flags = ["-O3", "-march=native", "-shared", "-fPIC"]
        subprocess.run([compiler() or "cc", *flags, str(source), "-o", str(library)], check=True)
        code = ctypes.CDLL(str(library))
        code.loop_ns.restype = ctypes.c_double
        model = (ctypes.c_void_p * 6)(*(w.ctypes.data for w in kept))

        def logits(x: FloatArray) -> FloatArray:
            y = np.empty(10, np.float32)
            code.logits(model, pointer(x), pointer(y))
            return y

        def block(images: Sequence[FloatArray]) -> float:
            together, total = np.stack(images), np.zeros(1, np.float32)
            return float(code.loop_ns(model, pointer(together), ctypes.c_long(len(images)), pointer(total)))

        yield logits, block


def compiler() -> str | None:
    """The C compiler's path; None where there is none."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


# By name: how to open it, the package it needs, and how to install that.
LITERT = ("ai_edge_litert", "pip install ai-edge-litert")
ONNX = ("onnxruntime", "pip install onnxruntime")
TENSORFLOW = ("tensorflow", "pip install tensorflow")
OURS = "`Classifier.logits`, float32"
FLOOR = "dense C loop, -O3 -march=native (timed in C)"
SESSION_RUN = "onnxruntime, `session.run`, one thread"
PREDICT = "Keras, `model.predict(x)`"
RIVALS: dict[str, tuple[Callable[[Bundle], Call] | None, tuple[str, str]]] = {
    OURS: (partial(ours, artifact=MODEL), LITERT),
    "`Classifier.logits`, int8": (partial(ours, artifact="int8.tflite"), LITERT),
    "LiteRT, set / invoke / get, float32": (partial(bare, runtime="litert", artifact=MODEL), LITERT),
    "LiteRT, quantize / set / invoke / get, int8": (
        partial(bare, runtime="litert", artifact="int8_full.tflite"),
        LITERT,
    ),
    "LiteRT, `CompiledModel` write / run / read": (compiled_model, LITERT),
    "onnxruntime, `session.run`, default options": (onnx_with_defaults, ONNX),
    SESSION_RUN: (partial(bare, runtime="onnxruntime", artifact="float32.onnx"), ONNX),
    "Polygraphy, `OnnxrtRunner.infer`": (polygraphy, ("polygraphy", "pip install polygraphy")),
    "Keras, `model(x)`": (keras_call, TENSORFLOW),
    PREDICT: (keras_predict, TENSORFLOW),
    "NumPy, three layers": (numpy_pass, LITERT),
    FLOOR: (None, LITERT),
}


def missing() -> dict[str, str]:
    """The rivals that cannot run here, and what to install."""
    found = {name: how for name, (_, (package, how)) in RIVALS.items() if find_spec(package) is None}
    if compiler() is None:
        found[FLOOR] = "a C compiler, such as gcc"
    return found
