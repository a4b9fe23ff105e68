"""Run each *.tflite of a folder on its *.x.npy: ``run_real.py RUNTIME KERNELS FOLDER``, a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np


def main(runtime: str, kernels: str, folder: str) -> None:
    """Write one NAME.RUNTIME-KERNELS.npy for each model."""
    if runtime == "litert":
        from ai_edge_litert import interpreter as package
    else:
        from tflite_runtime import interpreter as package
    resolver = getattr(package.OpResolverType, kernels)
    for path in sorted(Path(folder).glob("*.tflite")):
        x = np.load(path.with_suffix(".x.npy"))
        engine = package.Interpreter(str(path), num_threads=1, experimental_op_resolver_type=resolver)
        engine.allocate_tensors()
        into, out = engine.get_input_details()[0]["index"], engine.get_output_details()[0]["index"]
        outputs = []
        for row in x:
            engine.set_tensor(into, row[None])
            engine.invoke()
            outputs.append(engine.get_tensor(out)[0].copy())
        np.save(path.with_suffix(f".{runtime}-{kernels}.npy"), np.array(outputs))


main(*sys.argv[1:])
