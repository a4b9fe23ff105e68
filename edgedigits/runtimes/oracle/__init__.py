"""The runtime named numpy: reference kernels for dense .tflite models, and the oracle of int8 rounding.

In: the bytes of a .tflite file and a batch. Out: logits, bit for bit those of the kernel set that was asked for.
It needs NumPy and flatbuffers, and no wheel of a runtime.
"""
