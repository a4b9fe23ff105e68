"""A microcontroller that runs the sketch parity.ino of `edgedigits c`, on a serial port.

A frame, both ways, numbers little-endian: 0xED, kind, number (2 bytes), length (2 bytes), payload, and the CRC-32 of
all since kind (4 bytes). A damaged frame is asked for again, so that a bad line is never taken for a wrong logit.
"""

from __future__ import annotations

import os
import struct
import time
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgedigits.errors import BundleError, ModelError, RuntimeUnavailableError
from edgedigits.parity.result import ParityRow
from edgedigits.runtimes.tensors import AnyArray, FloatArray

if TYPE_CHECKING:
    from edgedigits.bundle.bundle import Artifact, Bundle

START, VERSION = 0xED, 1
BAUD = 115_200  # of a UART; a board with USB of its own ignores it
BOOT_SECONDS = 20.0  # a board may reset as its port is opened, waits in its boot loader, and runs its self-test
ANSWER_SECONDS, TRIES = 2.0, 5
REST_SECONDS = 1.0  # from the start of a frame to its end
MOST_PAYLOAD = 4096


def full_integer_artifact(bundle: Bundle) -> Artifact:
    """The .tflite with int8 input and output, which a microcontroller runs; BundleError without one."""
    for artifact in bundle.manifest.artifacts:
        if artifact.format == "tflite" and artifact.input.dtype == artifact.output.dtype == "int8":
            return artifact
    raise BundleError(
        f"{bundle.path}: no .tflite with int8 input and output, only {', '.join(bundle.names)}; export the bundle again"
    )


class Answer(NamedTuple):
    """What a board computes for one input: microseconds by its own clock, the class, and the logits (classes,) int8."""

    microseconds: int
    predicted: int
    logits: AnyArray


class Board:
    """The board on a serial port, for use in a ``with`` statement.

    Args:
        seconds: how long it may take to start.

    Raises:
        RuntimeUnavailableError: pyserial is missing, or the port cannot be opened.
        ModelError: the board does not answer, resets, is unplugged or holds another model than ``artifact``.
    """

    def __init__(self, port: str, artifact: Artifact, seconds: float = BOOT_SECONDS) -> None:
        try:
            import serial
        except ImportError as cause:
            raise RuntimeUnavailableError(
                "--serial needs pyserial, which is not installed; pip install pyserial"
            ) from cause
        self.port, self.damaged_frames = port, 0
        self._number, self._model = 0, ""
        self._lost: tuple[type[Exception], ...] = (serial.SerialException, OSError)
        try:
            self._line = serial.Serial(port, BAUD, write_timeout=ANSWER_SECONDS)
        except (*self._lost, ValueError) as cause:
            reason = os.strerror(cause.errno) if isinstance(cause, OSError) and cause.errno else cause
            raise RuntimeUnavailableError(
                f"cannot open {port}: {reason}; plug the board in, and close other programs that use the port"
            ) from cause
        try:
            self._introduce(artifact, seconds)
        except BaseException:
            self._line.close()
            raise

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_: object) -> None:
        self._line.close()

    def _introduce(self, artifact: Artifact, seconds: float) -> None:
        """Ask the board who it is, until it has started."""
        answer = self._ask(b"I", b"", seconds, tries=max(1, round(seconds)))
        version, failed, inputs, classes, model = struct.unpack("<BBHH16s", answer.ljust(22, b"?")[:22])
        flash = "flash the sketch parity.ino that `edgedigits c` writes for this bundle"
        if version != VERSION:
            raise ModelError(f"the sketch on {self.port} has protocol version {version}, expected {VERSION}; {flash}")
        if model != artifact.sha256[:16].encode() or (inputs, classes) != (
            artifact.input.elements,
            artifact.output.elements,
        ):
            held = model.decode("ascii", "replace")
            raise ModelError(
                f"the board on {self.port} holds the model {held}, expected {artifact.sha256[:16]}; {flash}"
            )
        self.self_test_passed, self._model = not failed, model.decode()

    def predict(self, x: AnyArray) -> Answer:
        """Run one input, (inputs,) int8."""
        answer = self._ask(b"X", x.tobytes(), ANSWER_SECONDS * TRIES, TRIES)
        microseconds, predicted = struct.unpack_from("<IH", answer)
        return Answer(microseconds, predicted, np.frombuffer(answer, np.int8, offset=6))

    def _ask(self, kind: bytes, payload: bytes, seconds: float, tries: int) -> bytes:
        """Send a frame until its answer comes, at most ``tries`` times; returns the answer's payload."""
        self._number = self._number % 0xFFFF + 1
        wanted = (b"Y" if kind == b"X" else kind, self._number)
        body = struct.pack("<cHH", kind, self._number, len(payload)) + payload
        damaged_before = self.damaged_frames
        try:
            for _ in range(tries):
                self._line.write(bytes([START]) + body + zlib.crc32(body).to_bytes(4, "little"))
                until = time.monotonic() + seconds / tries
                while (found := self._receive(until)) is not None and found[0] != b"E":
                    if found[:2] == wanted:
                        return found[2]
                    if found[0] == b"B" and self._model:
                        raise ModelError(
                            f"the board on {self.port} reset during the run; check its power and start again"
                        )
                self.damaged_frames += found is not None
        except self._lost as cause:
            raise ModelError(f"lost the board on {self.port}: {cause}; plug it in and start again") from cause
        if damaged := self.damaged_frames - damaged_before:
            raise ModelError(
                f"the line to {self.port} is bad: {damaged} damaged frames in {tries} tries; use another cable"
            )
        raise ModelError(
            f"the board on {self.port} does not answer; flash the sketch parity.ino that `edgedigits c` writes, close "
            "the serial monitor and try again"
        )

    def _receive(self, until: float) -> tuple[bytes, int, bytes] | None:
        """The next frame's kind, number and payload; kind E for a damaged one, None if there is none by ``until``."""
        while self._read(1, until) != bytes([START]):
            if time.monotonic() >= until:
                return None
        rest_until = time.monotonic() + REST_SECONDS
        head = self._read(5, rest_until)
        length = int.from_bytes(head[3:], "little")
        rest = self._read(length + 4, rest_until) if len(head) == 5 and length <= MOST_PAYLOAD else b""
        if len(rest) != length + 4 or zlib.crc32(head + rest[:-4]) != int.from_bytes(rest[-4:], "little"):
            self._line.reset_input_buffer()
            return b"E", 0, b""
        return head[:1], int.from_bytes(head[1:3], "little"), rest[:-4]

    def _read(self, count: int, until: float) -> bytes:
        """At most ``count`` bytes, fewer if they do not come in time."""
        self._line.timeout = max(0.0, until - time.monotonic())
        content: bytes = self._line.read(count)
        return content


def run_on_board(
    artifact: Artifact, port: str, x: FloatArray, seconds: float, on_image: Callable[[int, int], None]
) -> tuple[ParityRow, FloatArray]:
    """Run inputs (images, ...) float32 on the board; its row, not yet compared, and the logits (images, classes).

    Raises ModelError as :class:`Board` does, or if it takes more than ``seconds``.
    """
    started = time.monotonic()
    stored = np.empty((len(x), artifact.output.elements), np.int8)
    microseconds, wrong_class, message = 0, 0, ""
    with Board(port, artifact, min(seconds, BOOT_SECONDS)) as board:
        for n, row in enumerate(artifact.input.quantize(x)):
            answer = board.predict(row)
            stored[n] = answer.logits
            microseconds += answer.microseconds
            wrong_class += answer.predicted != int(answer.logits.argmax())
            on_image(n + 1, len(x))
            if time.monotonic() - started > seconds:
                raise ModelError(f"{n + 1} of {len(x)} images took {seconds:g} s on {port}; give more with --timeout")
    if wrong_class:
        message = f"{wrong_class} classes are not that of the largest logit; the compiler or the sketch is at fault"
    if not board.self_test_passed:
        message = "the self-test failed on the board; the compiler or its options are at fault"
    return ParityRow(
        artifact=artifact.file,
        runtime="c",
        kernels="reference",
        status="error" if message else "ok",
        message=message,
        images=len(x),
        us_per_image=round(microseconds / len(x), 1),
        seconds=round(time.monotonic() - started, 3),
        sha256=artifact.sha256,
    ), artifact.output.dequantize(stored)
