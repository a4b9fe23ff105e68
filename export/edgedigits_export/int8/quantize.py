"""Parity-aware int8: the file predicts the Keras model's class for every calibration input, with a safe lead.

The converter's own quantization calibrates ranges and rounds each weight to the nearest step; inputs whose top two
logits are close then change class. `quantize` adjusts a copy of the weights with a simulation of the converter:

1. Channels are equalized, so that each uses all 256 levels; the logits' range balances ties at its ends and coarseness.
2. Ranges and float weights are fitted to the Keras logits of the calibration set and of blends of it (half of those of
   square images are only rotated, scaled and shifted a little).
3. The last hidden layer gets complementary copies of channels, as far as the file size allows.
4. Weights are rounded by least squares, stage by stage, then tuned by straight-through gradients.
5. The file is converted and run in the real runtime. If it misses the target, step 4 continues with more weight on it.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgedigits.errors import EdgeDigitsError
from edgedigits.runtimes.tensors import FloatArray
from edgedigits_export.int8.comparison import Comparison
from edgedigits_export.int8.file import QuantizationError, Scores, convert, measure, strip
from edgedigits_export.quiet import conversion, reason_of

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from edgedigits_export.int8.graph import Graph

MIN_CALIBRATION = 100  # TFLite's guide asks for 100 to 500 representative inputs; fewer miss the tails of the ranges
GROWTH = 0.07  # by how much the tuned file may be larger than the converter's own


@dataclass(frozen=True)
class Int8Result:
    """An int8 file and how well it matches Keras, measured in the real runtime on the calibration set.

    mismatches: inputs whose argmax differs, on the worst kernel set. min_lead_quanta: smallest lead of the Keras class
    over the best other class, in output integers (negative if it is not the largest). plain_mismatches,
    plain_min_lead_quanta: the same of the converter's own quantization. reason: why that one is kept, although tuning
    was asked for.
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
    reason: str = ""
    plain_mismatches: int = 0
    plain_min_lead_quanta: int = 0

    def facts(self) -> dict[str, Any]:
        """The manifest's entries."""
        return {name: value for name, value in asdict(self).items() if name != "model"}


def quantize(
    model: keras.Model,
    calibration: FloatArray,
    *,
    scores: Scores = lambda outputs: outputs,
    plain: bool = False,
    per_channel: bool = True,
    seed: int = 1234,
    target_lead: int = 3,
    max_tries: int = 6,
    progress: Callable[[str], None] = lambda line: None,
    verbose: bool = False,
) -> Int8Result:
    """Quantize a Keras classifier to int8 weights, activations, input and output.

    The converter's own quantization is kept where it meets the target, where tuning is not possible, or where that
    does harm: more changed classes, on the calibration set or on blends of it that were not tuned on, or probabilities
    that are farther off.

    Args:
        model: a classifier with one input, one output and finite weights.
        calibration: (m, ...) float32, the inputs on which the predicted classes must agree; 100 or more for tuning.
        scores: makes one score per class (m, classes) of the model's outputs (m, n).
        plain: use the converter's own quantization.
        per_channel: one weight scale per output channel, else one per tensor.
        seed: random seed of the tuning; the same seed gives the same file on the same machine.
        target_lead: output quanta by which the Keras class must lead.
        max_tries: conversions before the best is kept.
        progress: called with one line before and after each long step.
        verbose: show the output of the converter and the runtime.

    Raises:
        QuantizationError: an operator of the model has no int8 version.
    """
    import tensorflow as tf

    from edgedigits_export.int8.fit import affordable_tries, tune

    def report(line: str) -> None:
        with restored():
            progress(line)

    def judge(content: bytes, method: str, tries: int) -> Int8Result:
        mismatches, lead, runtime = measure(content, calibration, outputs, scores)
        found = f"{mismatches} of {len(outputs)} mismatches, smallest lead {lead} quanta"
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

    def outputs_of(inputs: FloatArray) -> FloatArray:
        parts = (inputs[i : i + 1000] for i in range(0, len(inputs), 1000))  # bounds the memory
        return np.concatenate([np.asarray(model(part, training=False)) for part in parts])

    def tuned(graph: Graph, kept: Int8Result) -> Int8Result:
        """The best of the tuned files that do no harm; `kept`, the converter's own, if there is none."""
        spare_bytes = int((1 + GROWTH) * len(kept.model)) - len(strip(kept.model))
        probabilities = graph.output != graph.logits
        comparison = Comparison(kept.model, calibration, outputs_of, scores, probabilities, seed)
        best, reason, tries = kept, "", 0
        candidates = tune(graph, calibration, per_channel, seed, target_lead, spare_bytes, report)
        for tries, classify in enumerate(itertools.islice(candidates, affordable_tries(graph, max_tries)), 1):
            content = strip(convert(_converter(classify, graph.input_shape), calibration, per_channel))
            result = judge(content, "tuned", tries)
            reason = comparison.harm(content)
            if reason:  # the next tries would do more, as they give the lead more weight
                break
            if result.met_target or result.mismatches < best.mismatches:
                best = result
            if result.met_target:
                break
            reason = f"tuning left {result.mismatches} mismatches and a lead of {result.min_lead_quanta} quanta"
        return replace(best, tries=tries, reason="" if best.method == "tuned" else reason)

    with conversion(verbose) as restored:
        outputs = outputs_of(calibration)
        # An operator without int8 fails here, in a second, and not after the tuning.
        own = convert(tf.lite.TFLiteConverter.from_keras_model(model), calibration, per_channel)
        kept = judge(own, "plain", 1)
        kept = replace(kept, plain_mismatches=kept.mismatches, plain_min_lead_quanta=kept.min_lead_quanta)
        if plain:
            return kept
        if kept.met_target:  # tuning for these inputs can only lose elsewhere: 5 held-out flips became 33 of 2000
            return replace(kept, reason="it meets the target without tuning")
        try:
            with _one_reason():
                best = tuned(_graph_to_tune(model, calibration, outputs), kept)
        except QuantizationError as cause:
            return replace(kept, reason=str(cause))
    return replace(best, plain_mismatches=kept.mismatches, plain_min_lead_quanta=kept.min_lead_quanta)


@contextlib.contextmanager
def _one_reason() -> Iterator[None]:
    """QuantizationError for whatever goes wrong as a model is rewritten that was not made for it."""
    try:
        yield
    except EdgeDigitsError:
        raise
    except Exception as cause:  # Keras and TensorFlow document none for a model that is not made for this
        raise QuantizationError(f"tuning cannot rewrite this model ({reason_of(cause)})") from cause


def _graph_to_tune(model: keras.Model, calibration: FloatArray, outputs: FloatArray) -> Graph:
    """The model as a graph that can be tuned; QuantizationError says why it cannot be."""
    from edgedigits_export.int8.fit import FEWEST_STEPS, FLOAT_STEPS, affordable_steps
    from edgedigits_export.int8.graph import float_weights, run
    from edgedigits_export.int8.keras_reader import read

    if len(calibration) < MIN_CALIBRATION:
        raise QuantizationError(f"tuning needs {MIN_CALIBRATION} inputs, there are {len(calibration)}")
    graph = read(model)
    if affordable_steps(graph, FLOAT_STEPS) < FEWEST_STEPS:
        raise QuantizationError(
            f"a model with {graph.multiplications:,} multiplications and {graph.activations:,} activations takes too "
            "long to tune"
        )
    some = calibration[:MIN_CALIBRATION]
    found = np.asarray(run(graph, some, float_weights, quantized=False)[graph.output])
    if not np.allclose(found, outputs[: len(some)], rtol=1e-3, atol=1e-3 * max(float(np.abs(outputs).max()), 1e-3)):
        raise QuantizationError("tuning cannot reproduce the model's outputs")
    return graph


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
