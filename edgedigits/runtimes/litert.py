"""LiteRT (``ai-edge-litert``), the maintained TFLite runtime."""

from __future__ import annotations

from edgedigits.runtimes.tflite import TFLiteAdapter


def open_model(model: bytes, model_format: str, threads: int, kernels: str) -> TFLiteAdapter:
    """Open a .tflite model."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    return TFLiteAdapter(Interpreter, OpResolverType, model, threads, kernels)
