"""Parity-aware int8 quantization.

In: a Keras model and its training inputs. Out: a full-integer .tflite that predicts the float model's classes.
Parts: graph (the model), ranges, rounding, fit (the tuning), file (conversion and measurement), quantize (all of it).
"""
