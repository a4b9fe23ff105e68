"""Convert a Keras model to TFLite and ONNX, and write the bundle with them.

In: a Keras model with X and y. Out: a bundle directory, written whole or not at all.
Runs on a workstation only.
"""
