"""Fit a graph's ranges and weights to the Keras logits, through a simulation of the rounding that int8 does.

Straight-through gradients of rounding: Bengio et al. 2013 (arXiv:1308.3432).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from edgedigits.runtimes.tensors import FloatArray
from edgedigits_export.int8.blends import blend
from edgedigits_export.int8.graph import Graph, Stage, float_weights, run
from edgedigits_export.int8.ranges import equalize, leads, logits_range, rescale, set_ranges
from edgedigits_export.int8.rounding import round_to_grid, set_grids, split

BLENDS = 80_000
BATCH = 1_000  # fewer for a model with many activations
ACTIVATIONS = 200_000  # at most, in a batch
FLOAT_STEPS = 1_500
GRID_STEPS = 3_000
FIT_WORK = 6e11  # multiplications, at most, in one fit; a core does about 2.5e10 a second
TRIES_WORK = 1.3e12  # the same in all fits of rounded weights
FEWEST_STEPS = 50  # a larger model is not tuned
STEPS_PER_CALL = 25  # Ctrl-C takes effect between calls
GRID_RATE = 3e-3  # weight steps per descent step
FLOAT_RATE = 1e-5
HEADROOM = 1.25  # of hidden ranges beyond what was seen, if probabilities depend on them
CLOSE_SHARE = 4  # ranges must cover one in so many samples: those with the smallest leads
EXTRA_LEAD = 1  # quanta beyond the target, at the first try: kernels differ from the simulation by one
CERTAIN = 7.0  # a logit this far below another has less than a thousandth of its probability
LEAD_WEIGHT = 0.5  # of the lead in the loss, at the first try


def keras_logits(graph: Graph, inputs: FloatArray) -> FloatArray:
    """The Keras model's logits (before a softmax) on (m, ...) float32 inputs: (m, classes) float32."""
    parts = (tf.constant(inputs[i : i + 2000]) for i in range(0, len(inputs), 2000))  # bounds the memory
    logits = (run(graph, part, float_weights, quantized=False)[graph.logits] for part in parts)
    return np.concatenate([np.asarray(_pairs(part, 0.0)) for part in logits])


def _pairs(outputs: Any, other: float) -> Any:
    """Outputs (m, classes); those of one sigmoid become (other, output), where ``other`` is the threshold."""
    return outputs if outputs.shape[1] > 1 else tf.concat([tf.fill(tf.shape(outputs), other), outputs], 1)


def affordable_steps(graph: Graph, most: int) -> int:
    """How many steps of descent a model of this size gets, so that tuning takes minutes."""
    return int(min(most, FIT_WORK / _step_work(graph)))


def affordable_tries(graph: Graph, most: int) -> int:
    """How many times the rounded weights of a model of this size are tuned: at least once."""
    return int(np.clip(TRIES_WORK / (affordable_steps(graph, GRID_STEPS) * _step_work(graph)), 1, most))


def _step_work(graph: Graph) -> float:
    """The multiplications of a step of descent; an activation takes as long as 64 of them (measured on four models)."""
    return 2.25 * _batch(graph) * (3 * graph.multiplications + 64 * graph.activations)


@dataclass
class Examples:
    """What the graph is fitted to: calibration inputs and blends of them, each with the Keras logits."""

    calibration: tf.Tensor
    calibration_logits: tf.Tensor
    blends: tf.Tensor
    blend_logits: tf.Tensor
    drawn_logits: FloatArray  # of the blends from which `blends` were chosen
    close: tf.Tensor  # indices of the calibration inputs with the smallest Keras leads; they are in every batch


def tune(
    graph: Graph,
    calibration: FloatArray,
    per_channel: bool,
    seed: int,
    target_lead: int,
    spare_bytes: int,
    report: Callable[[str], None],
) -> Iterator[Callable[[Any], Any]]:
    """Yield candidates, each fitted further than the last: functions from inputs to output, weights on the grid.

    spare_bytes: by how much the last hidden layer may grow.
    """
    examples = _examples(graph, calibration, seed)
    samples = np.concatenate([calibration, np.asarray(examples.blends)])
    samples = samples[np.random.default_rng(seed).permutation(len(samples))[: 20 * _batch(graph)]]
    if graph.output == graph.logits:
        covered = samples[np.argsort(leads(keras_logits(graph, samples)))[: len(samples) // CLOSE_SHARE]]
        share, room, limits = 0.999, 1.0, logits_range(examples.drawn_logits, np.asarray(examples.calibration_logits))
    else:  # clipping would change the probabilities of the others
        covered, share, room, limits = samples, 1.0, HEADROOM, _probable_range(examples)
    equalize(graph, covered, 1e-3 if per_channel else 0.5, share, room)
    set_ranges(graph, samples, limits)
    report("int8: fitting ranges and float weights")
    _fit_floats(graph, examples, seed, target_lead)
    report("int8: rounding the weights")
    split(graph, spare_bytes)
    set_grids(graph, per_channel)
    rounded = round_to_grid(graph, samples)
    latents = {t: (tf.Variable(integers), tf.Variable(bias)) for t, (integers, bias) in rounded.items()}
    for attempt in itertools.count():
        report(f"int8: tuning the rounded weights, try {attempt + 1}")
        _fit_grid(graph, latents, examples, seed + attempt + 1, target_lead + attempt, attempt)
        yield _freeze(graph, latents)


def _examples(graph: Graph, calibration: FloatArray, seed: int) -> Examples:
    """Draw the blends and compute the Keras logits."""
    rng = np.random.default_rng(seed)
    drawn = blend(calibration, BLENDS * _batch(graph) // BATCH * 3, rng)
    logits = keras_logits(graph, drawn)
    lead = leads(logits)
    # Quantization flips inputs with a small lead: prefer those.
    kept = np.argsort(lead + rng.exponential(float(np.median(lead)) / 4, len(lead)))[: len(lead) // 3]
    own = keras_logits(graph, calibration)
    nearest = np.argsort(leads(own))[: _batch(graph) // 4].astype(np.int32)
    return Examples(
        calibration=tf.constant(calibration),
        calibration_logits=tf.constant(own),
        blends=tf.constant(drawn[kept]),
        blend_logits=tf.constant(logits[kept]),
        drawn_logits=logits,
        close=tf.constant(nearest),
    )


def _batch(graph: Graph) -> int:
    """The number of calibration inputs in one step; the number of blends is the same."""
    return int(np.clip(ACTIVATIONS // graph.activations, BATCH // 10, BATCH))


def _probable_range(examples: Examples) -> tuple[float, float]:
    """The narrowest range of the logits before a softmax or sigmoid that keeps the probabilities.

    A logit so far below the top one, or so far above the second, that its probability is 0 or 1 may saturate.
    """
    found = []
    for logits, share in ((examples.calibration_logits, 0.0), (examples.blend_logits, 0.1)):
        values = np.asarray(logits)
        ordered = np.sort(values, 1)
        low = np.percentile(np.maximum(values, ordered[:, -1:] - CERTAIN), share)
        high = np.percentile(np.minimum(values, ordered[:, -2:-1] + CERTAIN), 100 - share)
        found.append((float(low), float(high)))
    return min(low for low, _ in found), max(high for _, high in found)


def _loss(graph: Graph, values: dict[int, Any], logits: Any, strict: int, lead: float, lead_weight: float) -> Any:
    """Squared error of the gaps to the top logit, weighted towards small gaps, and a hinge on the leads of `strict`."""
    span, quantum = graph.head.limits, graph.head.quantum
    assert span is not None
    low, high = span
    got = _pairs(values[graph.logits], 0.0)
    unit = 20 * quantum
    # Outside the range both saturate: no error.
    same = ((logits < low) & (got <= low)) | ((logits > high) & (got >= high))
    error = tf.where(same, 0.0, got - tf.clip_by_value(logits, low, high))
    top = tf.one_hot(tf.argmax(logits, 1), logits.shape[1])
    gaps = tf.reduce_sum(logits * top, 1, keepdims=True) - logits
    weight = tf.exp(-gaps / unit) * (1 - top)
    ranking = tf.reduce_mean(tf.reduce_sum(weight * (tf.reduce_sum(error * top, 1, keepdims=True) - error) ** 2, 1))
    pull = tf.reduce_mean(error**2)
    final = _pairs(values[graph.output], 0.0 if graph.output == graph.logits else 0.5)[:strict]
    own = top[:strict]
    leads = tf.reduce_sum(final * own, 1) - tf.reduce_max(final - 1e3 * own, 1)
    step = quantum if graph.output == graph.logits else 1 / 256
    hinge = tf.reduce_mean(tf.nn.relu(lead - leads / step) ** 2)
    return ranking + 0.003 * pull + lead_weight * quantum**2 * 10 * hinge


def _descend(
    graph: Graph,
    forward: Callable[[Any], dict[int, Any]],
    groups: Sequence[tuple[list[tf.Variable], float]],
    examples: Examples,
    seed: int,
    steps: int,
    lead: float,
    lead_weight: float,
) -> None:
    """Adam with a cosine schedule to zero and one learning rate per group, compiled into one graph."""
    steps = affordable_steps(graph, steps)
    optimizers = [keras.optimizers.Adam(rate, beta_2=0.99) for _, rate in groups]
    for optimizer, (variables, _) in zip(optimizers, groups, strict=True):
        optimizer.build(variables)
    every = [variable for variables, _ in groups for variable in variables]
    images, blends = examples.calibration.shape[0], examples.blends.shape[0]
    batch = _batch(graph)

    @tf.function  # type: ignore[untyped-decorator]
    def run_steps(first: Any, last: Any) -> None:
        for step in tf.range(first, last):
            seeds = tf.stack([seed, step])
            some = tf.random.stateless_uniform((batch,), seeds, 0, images, tf.int32)
            others = tf.random.stateless_uniform((batch,), seeds + 1_000_003, 0, blends, tf.int32)
            own = tf.concat([examples.close, some], 0)
            inputs = tf.concat([tf.gather(examples.calibration, own), tf.gather(examples.blends, others)], 0)
            logits = tf.concat(
                [tf.gather(examples.calibration_logits, own), tf.gather(examples.blend_logits, others)], 0
            )
            with tf.GradientTape() as tape:
                loss = _loss(graph, forward(inputs), logits, own.shape[0], lead, lead_weight)
            slopes = iter(tape.gradient(loss, every))
            pace = 0.5 * (1 + tf.cos(np.pi * tf.cast(step, tf.float32) / steps)) + 1e-3
            for optimizer, (variables, rate) in zip(optimizers, groups, strict=True):
                optimizer.learning_rate.assign(rate * pace)
                optimizer.apply_gradients([(next(slopes), variable) for variable in variables])

    number = tf.TensorSpec((), tf.int32)
    run_steps_compiled = run_steps.get_concrete_function(number, number)
    for first in range(0, steps, STEPS_PER_CALL):
        run_steps_compiled(tf.constant(first), tf.constant(min(first + STEPS_PER_CALL, steps)))


def _fit_floats(graph: Graph, examples: Examples, seed: int, target_lead: int) -> None:
    """Fit float weights and the scale of each channel within its range, with quantized activations."""
    weights = {s.target: (tf.Variable(s.kernel), tf.Variable(s.bias)) for s in graph.weighted}
    gains = {s.target: tf.Variable(tf.zeros(len(s.bias))) for s in graph.weighted if s.after}

    def forward(inputs: Any) -> dict[int, Any]:
        return run(graph, inputs, lambda stage: weights[stage.target], gains=gains)

    groups = [([v for pair in weights.values() for v in pair], FLOAT_RATE)]
    if gains:
        groups.append((list(gains.values()), 3e-3))
    _descend(graph, forward, groups, examples, seed, FLOAT_STEPS, target_lead + EXTRA_LEAD, LEAD_WEIGHT / 5)
    for stage in graph.weighted:
        stage.kernel, stage.bias = (variable.numpy() for variable in weights[stage.target])
    for stage in graph.weighted:
        if stage.target in gains:
            rescale(stage, np.exp(gains[stage.target].numpy()))


Latents = dict[int, tuple[tf.Variable, tf.Variable]]


def _on_grid(stage: Stage, latents: Latents) -> tuple[Any, Any]:
    """Bias, and the kernel rounded to its grid with straight-through gradients."""
    integers, bias = latents[stage.target]
    bounded = tf.where(stage.grid.pinned, stage.grid.ends, tf.clip_by_value(integers, -127.0, 127.0))
    return (bounded + tf.stop_gradient(tf.round(bounded) - bounded)) * stage.grid.step, bias


def _fit_grid(graph: Graph, latents: Latents, examples: Examples, seed: int, target_lead: int, attempt: int) -> None:
    """Fit the grid point of every weight; rates are in weight steps and, for biases, in output steps.

    Each attempt gives the lead more weight, and may move weights further.
    """
    lead_weight, rate = LEAD_WEIGHT * 4**attempt, GRID_RATE * min(1 + 2 * attempt, 5)
    groups = [([integers for integers, _ in latents.values()], rate)]
    groups += [([latents[s.target][1]], 3e-3 * (s.quantum if s.limits else 1e-2)) for s in graph.weighted]

    def forward(inputs: Any) -> dict[int, Any]:
        return run(graph, inputs, lambda stage: _on_grid(stage, latents))

    _descend(graph, forward, groups, examples, seed, GRID_STEPS, target_lead + EXTRA_LEAD, lead_weight)


def _freeze(graph: Graph, latents: Latents) -> Callable[[Any], Any]:
    """The fitted graph as a function with constant weights."""
    constants = {s.target: (np.asarray(k), np.asarray(b)) for s in graph.weighted for k, b in [_on_grid(s, latents)]}
    return lambda inputs: run(graph, inputs, lambda stage: constants[stage.target])[graph.output]
