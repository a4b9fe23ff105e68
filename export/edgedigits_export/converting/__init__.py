"""From a Keras model to TFLite and ONNX files, and to the bundle that holds them.

In: a Keras model with X and y. Out: a bundle directory, written whole or not at all.
Runs on a workstation only.
"""
