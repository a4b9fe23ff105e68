"""Parity-aware int8: an int8 TFLite file whose every calibration answer is the Keras model's, with a safe lead.

The converter's own quantization calibrates ranges and rounds each weight to the nearest step; answers whose top two
logits are close then flip. `quantize` adjusts a copy of the weights against exactly what the converter will do:

1. channels are equalized, so that each uses all 256 levels; the logits' range ends where no answer hangs on them;
2. ranges and float weights are fitted to the Keras logits on the calibration set and on blends of it (square images
   are also turned, scaled and moved a little);
3. the last hidden layer is split in two halves whose roundings complement each other, where that costs few bytes;
4. weights are rounded by least squares, stage by stage, then tuned by straight-through gradients;
5. the file is converted and run in the real runtime; unless it meets the target, 4 goes on with a firmer hand.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgedigits.runtimes.tensors import FloatArray
from edgedigits_export.int8.file import QuantizationError, convert, measure, packed
from edgedigits_export.quiet import suppress_output

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

__all__ = ["Int8Result", "QuantizationError", "convert", "measure", "quantize"]

MIN_CALIBRATION = 100  # TFLite's guide asks for 100 to 500 representative inputs; fewer miss the tails of the ranges
GROWTH = 0.07  # how much larger than the converter's own file the tuned one may be


@dataclass(frozen=True)
class Int8Result:
    """An int8 file and how well it answers as Keras does, measured in the real runtime on the calibration set.

    mismatches: inputs whose argmax differs, on the worst kernel set. min_lead_quanta: least lead of the Keras class
    over the best other class, in output integers (negative: it lost). seconds: wall time of the whole call.
    """

    model: bytes
    method: str  # "tuned" or "plain"
    per_channel: bool
    seed: int
    target_lead: int
    mismatches: int
    min_lead_quanta: int
    tries: int
    met_target: bool
    seconds: float
    runtime: str

    def facts(self) -> dict[str, Any]:
        """What a manifest says of the file; no times, so that the same call gives the same manifest."""
        return {
            "method": self.method,
            "weights": "per-channel" if self.per_channel else "per-tensor",
            "seed": self.seed,
            "target_lead": self.target_lead,
            "mismatches": self.mismatches,
            "min_lead_quanta": self.min_lead_quanta,
            "tries": self.tries,
            "met_target": self.met_target,
            "runtime": self.runtime,
        }


def quantize(
    model: keras.Model,
    calibration: FloatArray,
    *,
    plain: bool = False,
    per_channel: bool = True,
    seed: int = 1234,
    target_lead: int = 3,
    max_tries: int = 6,
    progress: Callable[[str], None] | None = None,
    verbose: bool = False,
) -> Int8Result:
    """Quantize a Keras classifier to int8 weights, activations, input and output.

    Args:
        model: any dense or convolutional classifier with one input and one output.
        calibration: (m, ...) float32, m >= 100, the inputs on which the answers must agree.
        plain: the converter's own quantization, nothing adjusted.
        per_channel: one weight scale per output channel, else one per tensor.
        seed: of the tuning; the same seed gives the same file on the same machine.
        target_lead: output quanta by which the Keras class must lead.
        max_tries: conversions before the best is kept.
        progress: called with one line before and after each long step.
        verbose: let the converter and the runtime talk.

    Raises:
        QuantizationError: the model or the calibration set cannot be quantized.
    """
    import tensorflow as tf

    from edgedigits_export.int8.fit import tuned
    from edgedigits_export.int8.graph import read, refuse_nan

    start = time.perf_counter()
    say = progress or (lambda line: None)
    calibration = _checked(model, calibration)
    refuse_nan(model)
    with suppress_output(verbose):
        parts = [np.asarray(model(calibration[i : i + 2000], training=False)) for i in range(0, len(calibration), 2000)]
    wanted = np.argmax(np.concatenate(parts), 1)

    def judged(content: bytes, method: str, tries: int) -> Int8Result:
        mismatches, lead, runtime = measure(content, calibration, wanted, verbose)
        met = mismatches == 0 and lead >= target_lead
        found = f"{mismatches} of {len(wanted)} mismatches, least lead {lead} quanta"
        say(f"int8 {method}, try {tries}: {found} ({runtime})")
        seconds = time.perf_counter() - start
        return Int8Result(
            content, method, per_channel, seed, target_lead, mismatches, lead, tries, met, seconds, runtime
        )

    with suppress_output(verbose):
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if plain:
        return judged(convert(converter, calibration, per_channel, verbose), "plain", 1)
    # An op without int8 shows here, in a second, not after the fitting.
    own = convert(converter, calibration[:10], per_channel, verbose)
    with suppress_output(verbose):
        graph = read(model)
    room = int((1 + GROWTH) * len(own)) - len(packed(own))
    best: Int8Result | None = None
    for tries, classify in enumerate(tuned(graph, calibration, per_channel, seed, target_lead, room, say), 1):
        content = packed(convert(_converter(classify, graph.input_shape, verbose), calibration, per_channel, verbose))
        result = judged(content, "tuned", tries)
        if best is None or _rank(result) > _rank(best):
            best = result
        if result.met_target or tries >= max_tries:
            break
    assert best is not None
    return replace(best, tries=tries, seconds=time.perf_counter() - start)


def _rank(result: Int8Result) -> tuple[int, int]:
    return -result.mismatches, result.min_lead_quanta


def _checked(model: keras.Model, calibration: FloatArray) -> FloatArray:
    """The calibration set as float32, refused where it cannot serve."""
    shape = tuple(model.inputs[0].shape[1:])
    calibration = np.ascontiguousarray(calibration, np.float32)
    if calibration.shape[1:] != shape:
        raise QuantizationError(
            f"the calibration set has shape {calibration.shape}, expected (m, {', '.join(map(str, shape))}); "
            "pass inputs as the model takes them"
        )
    if len(calibration) < MIN_CALIBRATION:
        raise QuantizationError(
            f"the calibration set has {len(calibration)} inputs, expected at least {MIN_CALIBRATION}: ranges "
            "drawn from fewer clip ordinary inputs; pass the training inputs"
        )
    bad = int((~np.isfinite(calibration)).any(axis=tuple(range(1, calibration.ndim))).sum())
    if bad:
        raise QuantizationError(
            f"{bad} of {len(calibration)} calibration inputs hold NaN or infinity, expected finite values; remove them"
        )
    return calibration


def _converter(classify: Callable[[Any], Any], shape: tuple[int, ...], verbose: bool) -> tf.lite.TFLiteConverter:
    """A converter for a function from inputs to output, any batch."""
    import tensorflow as tf

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec((None, *shape), tf.float32, name="input")]
    )
    def logits(inputs: Any) -> dict[str, Any]:
        return {"logits": classify(inputs)}

    module = tf.Module()
    module.logits = logits
    with suppress_output(verbose):
        return tf.lite.TFLiteConverter.from_concrete_functions([logits.get_concrete_function()], module)
