"""The numpy runtime: reference kernels for dense .tflite models, bit-exact for every kernel set's int8 rounding.

In: a .tflite model and a batch. Out: the logits that the chosen kernel set gives.
It needs only NumPy and flatbuffers.
"""
