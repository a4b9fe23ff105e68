"""The task that a parity row runs in a process of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgedigits.bundle.bundle import Bundle
from edgedigits.classifier import open_artifact


def compute_logits(request: dict[str, Any]) -> dict[str, Any]:
    """Compute the logits of every input and save them to ``request["out"]`` as (images, classes) float32."""
    bundle = Bundle.reopen(request)
    x = np.load(request["inputs"], mmap_mode="r", allow_pickle=False)
    artifact, batch = bundle.artifact(request["artifact"]), request["batch"]
    with open_artifact(bundle, artifact, request["runtime"], threads=1, kernels=request["kernels"]) as session:
        if batch == 1:  # the very path of Classifier.logits
            logits = np.stack([session.run(row) for row in np.array(x)])
        else:
            logits = np.concatenate([session.run(x[start : start + batch]) for start in range(0, len(x), batch)])
    np.save(request["out"], logits)
    return {}
