"""Parity-aware int8: the file predicts the Keras model's class for every calibration input, with a safe lead.

The converter's own quantization calibrates ranges and rounds each weight to the nearest step; inputs whose top two
logits are close then change class. `quantize` adjusts a copy of the weights with a simulation of the converter:

1. Channels are equalized, so that each uses all 256 levels; the logits' range excludes values that affect no argmax.
2. Ranges and float weights are fitted to the Keras logits of the calibration set and of blends of it (square images
   are also rotated, scaled and shifted a little).
3. The last hidden layer gets complementary copies of channels, as far as the file size allows.
4. Weights are rounded by least squares, stage by stage, then tuned by straight-through gradients.
5. The file is converted and run in the real runtime. If it misses the target, step 4 continues with more weight on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgedigits.runtimes.tensors import FloatArray
from edgedigits_export.int8.file import QuantizationError, convert, measure, strip
from edgedigits_export.quiet import suppress_output

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

MIN_CALIBRATION = 100  # TFLite's guide asks for 100 to 500 representative inputs; fewer miss the tails of the ranges
GROWTH = 0.07  # by how much the tuned file may be larger than the converter's own


@dataclass(frozen=True)
class Int8Result:
    """An int8 file and how well it matches Keras, measured in the real runtime on the calibration set.

    mismatches: inputs whose argmax differs, on the worst kernel set. min_lead_quanta: smallest lead of the Keras class
    over the best other class, in output integers (negative if it is not the largest).
    """

    method: str  # "tuned" or "plain"
    weights: str  # "per-channel" or "per-tensor"
    seed: int
    target_lead: int
    mismatches: int
    min_lead_quanta: int
    tries: int
    met_target: bool
    runtime: str
    model: bytes

    def facts(self) -> dict[str, Any]:
        """The manifest's entries."""
        return {name: value for name, value in asdict(self).items() if name != "model"}


def quantize(
    model: keras.Model,
    calibration: FloatArray,
    *,
    plain: bool = False,
    per_channel: bool = True,
    seed: int = 1234,
    target_lead: int = 3,
    max_tries: int = 6,
    progress: Callable[[str], None] = lambda line: None,
    verbose: bool = False,
) -> Int8Result:
    """Quantize a Keras classifier to int8 weights, activations, input and output.

    Args:
        model: a dense or convolutional classifier with one input, one output and finite weights.
        calibration: (m, ...) float32, m >= 100, the inputs on which the predicted classes must agree.
        plain: use the converter's own quantization.
        per_channel: one weight scale per output channel, else one per tensor.
        seed: random seed of the tuning; the same seed gives the same file on the same machine.
        target_lead: output quanta by which the Keras class must lead.
        max_tries: conversions before the best is kept.
        progress: called with one line before and after each long step.
        verbose: show the output of the converter and the runtime.

    Raises:
        QuantizationError: the model or the calibration set cannot be quantized.
    """
    import tensorflow as tf

    from edgedigits_export.int8.fit import tune
    from edgedigits_export.int8.graph import read

    if len(calibration) < MIN_CALIBRATION:
        raise QuantizationError(
            f"the calibration set has {len(calibration)} inputs, expected at least {MIN_CALIBRATION}; pass the "
            "training inputs"
        )

    def report(line: str) -> None:
        with restored():
            progress(line)

    def judge(content: bytes, method: str, tries: int) -> Int8Result:
        mismatches, lead, runtime = measure(content, calibration, logits)
        found = f"{mismatches} of {len(logits)} mismatches, smallest lead {lead} quanta"
        report(f"int8 {method}, try {tries}: {found} ({runtime})")
        return Int8Result(
            method=method,
            weights="per-channel" if per_channel else "per-tensor",
            seed=seed,
            target_lead=target_lead,
            mismatches=mismatches,
            min_lead_quanta=lead,
            tries=tries,
            met_target=mismatches == 0 and lead >= target_lead,
            runtime=runtime,
            model=content,
        )

    with suppress_output(verbose) as restored:
        parts = [np.asarray(model(calibration[i : i + 1000], training=False)) for i in range(0, len(calibration), 1000)]
        logits = np.concatenate(parts)
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if plain:
            return judge(convert(converter, calibration, per_channel), "plain", 1)
        # An operator without int8 fails here, in a second, and not after the tuning.
        own = convert(converter, calibration[:10], per_channel)
        graph = read(model)
        spare_bytes = int((1 + GROWTH) * len(own)) - len(strip(own))
        best: Int8Result | None = None
        candidates = tune(graph, calibration, per_channel, seed, target_lead, spare_bytes, report)
        for tries, classify in enumerate(candidates, 1):
            content = strip(convert(_converter(classify, graph.input_shape), calibration, per_channel))
            result = judge(content, "tuned", tries)
            if best is None or _rank(result) > _rank(best):
                best = result
            if result.met_target or tries >= max_tries:
                break
    assert best is not None
    return replace(best, tries=tries)


def _rank(result: Int8Result) -> tuple[int, int]:
    return -result.mismatches, result.min_lead_quanta


def _converter(classify: Callable[[Any], Any], shape: tuple[int, ...]) -> tf.lite.TFLiteConverter:
    """A converter for a function from inputs to output, any batch."""
    import tensorflow as tf

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec((None, *shape), tf.float32, name="input")]
    )
    def logits(inputs: Any) -> dict[str, Any]:
        return {"logits": classify(inputs)}

    module = tf.Module()
    module.logits = logits
    return tf.lite.TFLiteConverter.from_concrete_functions([logits.get_concrete_function()], module)
