"""What quantization changes on inputs that it was not tuned on: the only ones that say anything about new inputs."""

from __future__ import annotations

from typing import Any

from edgedigits.bundle.contract import Contract
from edgedigits.bundle.dataset import Labels
from edgedigits.parity import metrics
from edgedigits.runtimes.session import Session
from edgedigits.runtimes.tensors import FloatArray
from edgedigits_export.converting.tflite import output_scale
from edgedigits_export.quiet import suppress_output


def judge(
    content: bytes, contract: Contract, x: FloatArray, y: Labels, expected: FloatArray
) -> tuple[dict[str, Any], str]:
    """The manifest's facts about an int8 .tflite on held-out inputs x (m, ...), and the same as one line.

    ``expected`` are the Keras model's outputs (m, n), ``y`` the labels (m,).
    """
    with suppress_output(), Session(content, "tflite", "tensorflow") as session:
        found, golden = contract.scores(session.run(x)), contract.scores(expected)
        scale = session.output.scale or output_scale(content)
    flips = len(metrics.mismatched(found, golden))
    facts = {"unseen_images": len(x), "unseen_mismatches": flips}
    near = ""
    if scale is not None:
        near = f"{int((metrics.lead_quanta(found, found, scale) <= 1).sum())} ties and near-ties, "
    accuracy, own = (1 - metrics.errors(scores, y) / len(y) for scores in (golden, found))
    return facts, (
        f"{flips} of {len(x)} held-out predictions changed, at most {metrics.rate_upper_bound(flips, len(x)):.3%} of "
        f"such inputs (exact binomial bound, 95 %); {near}accuracy {own:.2%}, Keras {accuracy:.2%}"
    )
