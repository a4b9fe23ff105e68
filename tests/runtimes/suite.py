"""What every runtime must do, with every file it opens.

test_runtimes.py runs this once per runtime, each in a process of its own. By hand:
``CONTRACT_RUNTIME=litert python -m pytest tests/runtimes/suite.py``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedigits.bundle.bundle import Bundle
from edgedigits.classifier import Classifier
from edgedigits.errors import BundleError, ClosedError, InputError, ModelError, RuntimeUnavailableError
from edgedigits.runtimes.session import Session
from edgedigits.runtimes.table import RUNTIMES
from edgedigits.runtimes.tensors import FloatArray

RUNTIME = os.environ["CONTRACT_RUNTIME"]
INFO = RUNTIMES[RUNTIME]
BUNDLE = Bundle()
BUNDLED = [a for a in BUNDLE.manifest.artifacts if a.format in INFO.formats]
FILES = [*(a.file for a in BUNDLED), *(["float32.keras"] if "keras" in INFO.formats else [])]
INT8_FILES = [a.file for a in BUNDLED if a.quantized]
X = BUNDLE.inputs()[0]
GOLDEN = BUNDLE.golden()

# A batch, or a row that is not contiguous, may go through other matrix kernels than one image, which add the 400
# products in another order. The logits reach 49, where one float32 step is 4e-6; the largest difference seen on any
# kernel set is 2.3e-5.
TOLERANCE = 1e-4
# The converter's own quantization flips a few of the 5000; how many exactly is parity's concern.
INT8_FLIPS = 10

# Writes the network of the bundle's .onnx as a .keras file, in a process of its own: TensorFlow fixes its number of
# threads on first use, and the suite's own first use of it must be the session's.
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

    def open(self, **options: Any) -> Session:
        return Session(self.content, self.format, RUNTIME, **options)


@pytest.fixture(scope="module", params=FILES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    file = str(request.param)
    if file == "float32.keras":
        path = tmp_path_factory.mktemp("keras") / file
        subprocess.run([sys.executable, "-c", WRITE_KERAS, str(path)], check=True, capture_output=True)
        return Model(path.read_bytes(), "keras")
    return Model(BUNDLE.read(file), BUNDLE.artifact(file).format)


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


class TestAnswers:
    def test_argmax_is_the_golden_one(self, session: Session) -> None:
        assert flips(session.run(X)) <= (INT8_FLIPS if quantized(session) else 0)

    @pytest.mark.parametrize("kernels", INFO.kernels)
    def test_every_kernel_set_answers(self, model: Model, kernels: str) -> None:
        with model.open(kernels=kernels) as session:
            assert flips(session.run(X)) <= (INT8_FLIPS if quantized(session) else 0)

    def test_one_image_is_a_row_of_a_batch(self, session: Session) -> None:
        singles = np.stack([session.run(x) for x in X[::25]])
        assert_same(session, session.run(X[::25]), singles)

    @pytest.mark.parametrize("size", [1, 2, 7, 5000])
    def test_batch_of_any_size_and_back_to_one_image(self, session: Session, size: int) -> None:
        before = session.run(X[3])
        batch = session.run(X[:size])
        assert batch.shape == (size, 10)
        assert_same(session, batch[-1], session.run(X[size - 1]))
        np.testing.assert_array_equal(session.run(X[3]), before)

    def test_one_image_gives_one_row(self, session: Session) -> None:
        assert session.run(X[0]).shape == (10,)
        assert session.run(X[:1]).shape == (1, 10)

    @pytest.mark.parametrize("rows", [slice(5, 6), slice(0, 9)], ids=["one image", "batch"])
    @pytest.mark.parametrize(
        "change",
        [
            lambda x: x.astype(np.float64),
            lambda x: x.astype(">f4"),
            lambda x: np.asfortranarray(x),
            lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
            lambda x: x[..., ::-1].copy()[..., ::-1],
            lambda x: np.lib.stride_tricks.as_strided(x, x.shape, x.strides, writeable=False),
            lambda x: x.tolist(),
        ],
        ids=["float64", "big-endian", "Fortran-ordered", "strided", "reversed view", "read-only", "list"],
    )
    def test_same_values_in_another_layout(
        self, session: Session, change: Callable[[FloatArray], Any], rows: slice
    ) -> None:
        x = X[rows] if rows.stop > 6 else X[rows][0]
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
        one[:] = 7.0  # and it is the caller's to change
        assert not np.array_equal(session.run(X[0]), one)

    def test_invoke_repeats_the_last_image(self, session: Session) -> None:
        before = session.run(X[4])
        session.invoke()
        np.testing.assert_array_equal(session.run(X[4]), before)


class TestRefusals:
    @pytest.mark.parametrize(
        "shape", [(399,), (401,), (0,), (), (20, 20), (0, 400), (3, 399), (1, 1, 400), (2, 20, 20)], ids=str
    )
    def test_wrong_shape(self, session: Session, shape: tuple[int, ...]) -> None:
        with pytest.raises(InputError) as caught:
            session.run(np.zeros(shape, np.float32))
        assert str(caught.value) == f"the input has shape {shape}; expected float32 of shape (400,) or (m, 400)"

    @pytest.mark.parametrize("dtype", ["int8", "int64", "uint8", "bool", "complex64", "object", "str", "M8[s]"])
    @pytest.mark.parametrize("shape", [(400,), (2, 400)], ids=["one image", "batch"])
    def test_wrong_dtype(self, session: Session, shape: tuple[int, ...], dtype: str) -> None:
        x = np.zeros(shape, dtype)
        with pytest.raises(InputError) as caught:
            session.run(x)
        assert f"the input has dtype {x.dtype}; expected float32 of shape (400,)" in str(caught.value)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300], ids=str)
    @pytest.mark.parametrize("at", [0, 399])
    def test_not_finite(self, session: Session, value: float, at: int) -> None:
        """1e300 is a finite float64 that float32 cannot hold."""
        x = X[:3].astype(np.float64 if value == 1e300 else np.float32)
        x[2, at] = value
        for bad in (x, x[2]):
            with pytest.raises(InputError, match="NaN or infinity; expected finite values"):
                session.run(bad)

    def test_session_still_answers_after_a_refusal(self, session: Session) -> None:
        before = session.run(X[0])
        with pytest.raises(InputError):
            session.run(np.full(400, np.nan, np.float32))
        np.testing.assert_array_equal(session.run(X[0]), before)

    @pytest.mark.parametrize("threads", [0, -1])
    def test_threads_below_one(self, model: Model, threads: int) -> None:
        with pytest.raises(InputError, match=f"threads is {threads}; expected 1 or more"):
            model.open(threads=threads)

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


class TestQuantized:
    """int8 only: float to integer rounds to nearest and saturates; the commonest bug is a bare cast."""

    __test__ = bool(INT8_FILES)  # no test at all, rather than a skipped one, for a runtime that opens none

    @pytest.fixture(params=INT8_FILES)
    def session(self, request: pytest.FixtureRequest) -> Iterator[Session]:
        with Session(BUNDLE.read(request.param), "tflite", RUNTIME) as opened:
            yield opened

    @pytest.mark.parametrize("huge", [1e6, -1e6, 3e38, -3e38], ids=str)
    def test_beyond_the_range_is_as_its_end(self, session: Session, huge: float) -> None:
        spec = session.input
        end = spec.dequantize(np.array([127 if huge > 0 else -128], np.int8))[0]
        x = X[:4].copy()
        x[:, 150:250] = huge
        clipped = X[:4].copy()
        clipped[:, 150:250] = end
        np.testing.assert_array_equal(session.run(x), session.run(clipped))
        np.testing.assert_array_equal(session.run(x[0]), session.run(clipped[0]))

    def test_less_than_half_a_quantum_changes_nothing(self, session: Session) -> None:
        spec = session.input
        assert spec.scale is not None
        on_grid = spec.dequantize(spec.quantize(X[::50]))
        inside = np.float32(0.45 * spec.scale) * np.random.default_rng(0).choice([-1, 1], on_grid.shape)
        shifted = np.clip(on_grid + inside, on_grid.min(), on_grid.max()).astype(np.float32)
        np.testing.assert_array_equal(session.run(shifted), session.run(on_grid))
        np.testing.assert_array_equal(session.run(shifted[0]), session.run(on_grid[0]))

    def test_more_than_half_a_quantum_is_the_next_step(self, session: Session) -> None:
        spec = session.input
        assert spec.scale is not None
        steps = np.random.default_rng(1).integers(-127, 127, (50, 400))
        lower, upper = (spec.dequantize(q.astype(np.int8)) for q in (steps, steps + 1))
        above = lower + np.float32(0.55 * spec.scale)
        np.testing.assert_array_equal(session.run(above), session.run(upper))
        assert not np.array_equal(session.run(lower), session.run(upper))

    def test_logits_are_whole_quanta(self, session: Session) -> None:
        spec = session.output
        assert spec.scale is not None
        assert spec.zero_point is not None
        stored = session.run(X[:100]).astype(np.float64) / spec.scale + spec.zero_point
        np.testing.assert_allclose(stored, np.rint(stored), rtol=0, atol=1e-4)
        assert stored.min() >= -128.001
        assert stored.max() <= 127.001


class TestThreads:
    def test_two_runtime_threads_answer_alike(self, model: Model, session: Session) -> None:
        if model.format == "keras":  # TensorFlow's number of threads is the process's, fixed on first use
            with pytest.raises(RuntimeUnavailableError, match="a process of its own"):
                model.open(threads=2)
            return
        with model.open(threads=2) as two:
            np.testing.assert_array_equal(two.run(X).argmax(axis=1), session.run(X).argmax(axis=1))
            assert_same(session, two.run(X[0]), session.run(X[0]))

    def test_many_callers_share_one_session(self, session: Session) -> None:
        """Images and batches from eight threads at once: each caller gets the answers to its own question."""
        start = threading.Barrier(8)
        expected = session.run(X[:800])

        def ask(caller: int) -> tuple[FloatArray, FloatArray]:
            start.wait()
            rows = X[caller * 100 : caller * 100 + 100]
            half = np.stack([session.run(x) for x in rows[:50]])
            return half, np.concatenate([session.run(rows[i : i + 5]) for i in range(50, 100, 5)])

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(ask, range(8)))
        assert_same(session, np.concatenate([part for answer in answers for part in answer]), expected)


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

    def test_close_before_use_and_twice(self, model: Model) -> None:
        session = model.open()
        session.close()
        session.close()
        with pytest.raises(ClosedError):
            session.run(X[0])

    def test_context_manager_closes_on_an_error_too(self, model: Model) -> None:
        with pytest.raises(InputError), model.open() as session:
            session.run(X[0][:1])
        with pytest.raises(ClosedError):
            session.run(X[0])


class TestSeveralSessions:
    def test_two_sessions_keep_apart(self, model: Model) -> None:
        """All that this runtime opens, side by side with the model under test."""
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

    def test_open_again_and_again(self, model: Model) -> None:
        answers = []
        for _ in range(3):
            with model.open() as session:
                answers.append(session.run(X[0]))
        np.testing.assert_array_equal(answers[0], answers[1])
        np.testing.assert_array_equal(answers[0], answers[2])


def flipped(content: bytes) -> bytes:
    return bytes(byte ^ 255 for byte in content)


def other_formats_file(content: bytes) -> bytes:
    tflite = BUNDLE.read("float32.tflite")
    return tflite if content[4:8] != tflite[4:8] else BUNDLE.read("float32.onnx")


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    **{f"first {n} bytes": lambda content, n=n: content[:n] for n in (7, 64)},  # type: ignore[misc]
    **{f"first {p} %": lambda content, p=p: content[: len(content) * p // 100] for p in (50, 90)},  # type: ignore[misc]
    "100 bytes short": lambda content: content[:-100],
    "ends flipped": lambda content: flipped(content[:8]) + content[8:-22] + flipped(content[-22:]),
    "zeros": lambda content: bytes(len(content)),
    "text": lambda content: b"version https://git-lfs.example/spec/v1\n" * 3,
    "garbage": lambda content: np.random.default_rng(0).bytes(len(content)),
    "garbage after its head": lambda content: content[:64] + np.random.default_rng(0).bytes(len(content) - 64),
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

    @pytest.mark.parametrize("file", [a.file for a in BUNDLED])
    def test_a_bundle_never_hands_it_over(self, file: str, tmp_path: Path) -> None:
        folder = tmp_path / "bundle"
        shutil.copytree(BUNDLE.path, folder)
        whole = BUNDLE.read(file)
        (folder / file).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(BundleError, match=f"{file} is damaged"):
            Classifier(folder, file, RUNTIME)
