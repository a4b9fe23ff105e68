"""What every runtime must do, with every file it opens.

test_contract.py runs this once per runtime, each in a process of its own; by hand:
``CONTRACT_RUNTIME=litert python -m pytest tests/runtimes/suite.py``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from edgedigits.bundle.bundle import Bundle
from edgedigits.errors import ClosedError, InputError, ModelError, RuntimeUnavailableError
from edgedigits.runtimes.session import Session
from edgedigits.runtimes.table import RUNTIMES
from edgedigits.runtimes.tensors import FloatArray

RUNTIME = os.environ["CONTRACT_RUNTIME"]
INFO = RUNTIMES[RUNTIME]
BUNDLE = Bundle()
BUNDLED = [a for a in BUNDLE.manifest.artifacts if a.format in INFO.formats]
FILES = [*(a.file for a in BUNDLED), *(["float32.keras"] if "keras" in INFO.formats else [])]
X = BUNDLE.inputs()[0]
GOLDEN = BUNDLE.golden()

# A batch may use other matrix kernels than one image, which add the 400 products in another order. The logits reach 49,
# where one float32 step is 4e-6; the largest difference seen on any kernel set is 2.3e-5.
TOLERANCE = 1e-4
# The converter's quantization flips a few of the 5000; parity counts them exactly.
INT8_FLIPS = 10

# Write the bundle's network as a .keras file, in a process of its own: TensorFlow fixes its number of threads on first
# use, which must be the session's.
WRITE_KERAS = """
import sys
import onnx
from onnx import numpy_helper
from edgedigits.bundle.bundle import Bundle
from edgedigits_export.training.model import build

tensors = onnx.load_model_from_string(Bundle().read("float32.onnx")).graph.initializer
arrays = {array.shape: array for array in map(numpy_helper.to_array, tensors)}
model = build()
model.set_weights([arrays[weight.shape] for weight in model.get_weights()])
model.save(sys.argv[1])
"""


@dataclass(frozen=True)
class Model:
    """One file for the runtime under test."""

    content: bytes
    format: str
    quantized: bool = False

    def open(self, **options: Any) -> Session:
        return Session(self.content, self.format, RUNTIME, **options)


@pytest.fixture(scope="module", params=FILES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    file = str(request.param)
    if file == "float32.keras":
        path = tmp_path_factory.mktemp("keras") / file
        subprocess.run([sys.executable, "-c", WRITE_KERAS, str(path)], check=True, capture_output=True)
        return Model(path.read_bytes(), "keras")
    return Model(BUNDLE.read(file), BUNDLE.artifact(file).format, BUNDLE.artifact(file).quantized)


@pytest.fixture(scope="module")
def session(model: Model) -> Iterator[Session]:
    with model.open() as opened:
        yield opened


def quantized(session: Session) -> bool:
    return session.output.scale is not None


def assert_same(session: Session, found: FloatArray, expected: FloatArray) -> None:
    """Exactly for int8, where sums are whole numbers; within the tolerance for float32."""
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=0 if quantized(session) else TOLERANCE)


def flips(logits: FloatArray) -> int:
    return int((logits.argmax(axis=1) != GOLDEN.argmax(axis=1)).sum())


class TestResults:
    def test_argmax_is_the_golden_one(self, model: Model, session: Session) -> None:
        assert flips(session.run(X)) <= (INT8_FLIPS if model.quantized else 0)

    @pytest.mark.parametrize("kernels", INFO.kernels)
    def test_every_kernel_set(self, model: Model, kernels: str) -> None:
        with model.open(kernels=kernels) as session:
            assert flips(session.run(X)) <= (INT8_FLIPS if model.quantized else 0)

    @pytest.mark.parametrize("size", [1, 2, 200])
    def test_a_batch_equals_its_rows(self, session: Session, size: int) -> None:
        before = session.run(X[3])
        batch = session.run(X[:size])
        assert batch.shape == (size, 10)
        assert_same(session, batch, np.stack([session.run(x) for x in X[:size]]))
        np.testing.assert_array_equal(session.run(X[3]), before)

    @pytest.mark.parametrize(
        "change",
        [
            lambda x: x.astype(np.float64),
            lambda x: x.astype(">f4"),
            lambda x: np.asfortranarray(x),
            lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
            lambda x: np.lib.stride_tricks.as_strided(x, x.shape, x.strides, writeable=False),
            lambda x: x.tolist(),
        ],
        ids=["float64", "big-endian", "Fortran-ordered", "strided", "read-only", "list"],
    )
    def test_same_values_in_another_layout(self, session: Session, change: Callable[[FloatArray], Any]) -> None:
        for x in (X[5], X[:9]):
            assert_same(session, session.run(change(x)), session.run(x))

    def test_input_is_not_changed(self, session: Session) -> None:
        one, batch = X[7].copy(), X[:7].copy()
        session.run(one)
        session.run(batch)
        np.testing.assert_array_equal(one, X[7])
        np.testing.assert_array_equal(batch, X[:7])

    def test_result_outlives_later_calls(self, session: Session) -> None:
        one, batch = session.run(X[0]), session.run(X[:2])
        kept = one.copy(), batch.copy()
        session.run(X[1500])
        session.run(X[2000:2002])
        np.testing.assert_array_equal(one, kept[0])
        np.testing.assert_array_equal(batch, kept[1])
        one[:] = 7.0  # the caller may change it
        assert not np.array_equal(session.run(X[0]), one)

    def test_invoke_repeats_the_last_image(self, session: Session) -> None:
        before = session.run(X[4])
        session.invoke()
        np.testing.assert_array_equal(session.run(X[4]), before)


class TestRefusals:
    @pytest.mark.parametrize("shape", [(399,), (), (20, 20), (0, 400), (3, 399), (1, 1, 400)], ids=str)
    def test_wrong_shape(self, session: Session, shape: tuple[int, ...]) -> None:
        with pytest.raises(InputError) as caught:
            session.run(np.zeros(shape, np.float32))
        assert str(caught.value) == f"the input has shape {shape}; expected float32 of shape (400,) or (m, 400)"

    @pytest.mark.parametrize("dtype", ["int8", "int64", "bool", "complex64", "object", "str"])
    def test_wrong_dtype(self, session: Session, dtype: str) -> None:
        for shape in ((400,), (2, 400)):
            x = np.zeros(shape, dtype)
            with pytest.raises(InputError) as caught:
                session.run(x)
            assert f"the input has dtype {x.dtype}; expected float32 of shape (400,)" in str(caught.value)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300], ids=str)
    def test_not_finite(self, session: Session, value: float) -> None:
        """1e300 is a finite float64 beyond float32."""
        before = session.run(X[0])
        x = X[:3].astype(np.float64 if value == 1e300 else np.float32)
        x[2, 399] = value
        for bad in (x, x[2]):
            with pytest.raises(InputError, match="NaN or infinity; expected finite values"):
                session.run(bad)
        np.testing.assert_array_equal(session.run(X[0]), before)

    def test_threads_below_one(self, model: Model) -> None:
        with pytest.raises(InputError, match="threads is 0; expected 1 to 1024"):
            model.open(threads=0)

    def test_unknown_kernel_set(self, model: Model) -> None:
        with pytest.raises(RuntimeUnavailableError) as caught:
            model.open(kernels="fastest")
        for name in ("fastest", *INFO.kernels):
            assert name in str(caught.value)

    def test_unknown_runtime(self, model: Model) -> None:
        with pytest.raises(RuntimeUnavailableError) as caught:
            Session(model.content, model.format, "tflight")
        for name in ("tflight", *RUNTIMES):
            assert name in str(caught.value)

    def test_other_format(self, model: Model) -> None:
        with pytest.raises(RuntimeUnavailableError, match=f"{RUNTIME} does not open .safetensors files"):
            Session(model.content, "safetensors", RUNTIME)


class TestThreads:
    def test_two_runtime_threads_give_the_same(self, model: Model, session: Session) -> None:
        if model.format == "keras":  # TensorFlow's number of threads is the process's, fixed on first use
            with pytest.raises(RuntimeUnavailableError, match="a process of its own"):
                model.open(threads=2)
            return
        with model.open(threads=2) as two:
            np.testing.assert_array_equal(two.run(X).argmax(axis=1), session.run(X).argmax(axis=1))
            assert_same(session, two.run(X[0]), session.run(X[0]))

    def test_many_callers_share_one_session(self, session: Session) -> None:
        """Eight threads at once: each caller gets its own results."""
        start = threading.Barrier(8)
        expected = session.run(X[:800])

        def call(caller: int) -> tuple[FloatArray, FloatArray]:
            start.wait()
            rows = X[caller * 100 : caller * 100 + 100]
            half = np.stack([session.run(x) for x in rows[:50]])
            return half, np.concatenate([session.run(rows[i : i + 5]) for i in range(50, 100, 5)])

        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(call, range(8)))
        assert_same(session, np.concatenate([part for result in results for part in result]), expected)


class TestClosing:
    @pytest.mark.parametrize("x", [X[0], X[:2], X[0].astype(np.float64)], ids=["one image", "batch", "float64"])
    def test_use_after_close(self, model: Model, x: FloatArray) -> None:
        session = model.open()
        run = session.run
        run(x)
        session.close()
        for use in (lambda: session.run(x), lambda: run(x), session.invoke):
            with pytest.raises(ClosedError, match=f"{RUNTIME} session is closed; open a new one"):
                use()

    def test_context_manager_closes_on_an_error_too(self, model: Model) -> None:
        with pytest.raises(InputError), model.open() as session:
            session.run(X[0][:1])
        session.close()  # a second time
        with pytest.raises(ClosedError):
            session.run(X[0])


class TestSeveralSessions:
    def test_sessions_do_not_share_state(self, model: Model) -> None:
        alone = {}
        for a in BUNDLED:
            with Session(BUNDLE.read(a.file), a.format, RUNTIME) as session:
                alone[a.file] = [session.run(x) for x in X[:20]]
        with model.open() as mine:
            expected = [mine.run(x) for x in X[20:40]]
            beside = {a.file: Session(BUNDLE.read(a.file), a.format, RUNTIME) for a in BUNDLED}
            for i in range(20):
                for name, session in beside.items():
                    np.testing.assert_array_equal(session.run(X[i]), alone[name][i])
                np.testing.assert_array_equal(mine.run(X[20 + i]), expected[i])
            for session in beside.values():
                session.close()
            np.testing.assert_array_equal(mine.run(X[20]), expected[0])


def other_formats_file(content: bytes) -> bytes:
    tflite = BUNDLE.read("float32.tflite")
    return tflite if content[4:8] != tflite[4:8] else BUNDLE.read("float32.onnx")


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "first half": lambda content: content[: len(content) // 2],
    "100 bytes short": lambda content: content[:-100],
    "ends changed": lambda content: b"\xff" * 8 + content[8:-22] + b"\xff" * 22,
    "random after its head": lambda content: content[:64] + np.random.default_rng(0).bytes(len(content) - 64),
    "another format's file": other_formats_file,
}


class TestDamagedFiles:
    @pytest.mark.parametrize("damage", DAMAGE)
    def test_refused_in_one_line(self, model: Model, damage: str) -> None:
        damaged = Model(DAMAGE[damage](model.content), model.format)
        with pytest.raises(ModelError) as caught:
            damaged.open()
        message = str(caught.value)
        assert "\n" not in message
        assert f"cannot open this .{model.format} file" in message
        assert "export it again" in message
