"""Parity-aware int8 quantization.

In: a Keras model and its training inputs. Out: a full-integer .tflite that answers as the float model does.
The parts: graph, fit, rounding, file.
"""
