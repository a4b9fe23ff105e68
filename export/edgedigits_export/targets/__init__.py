"""A bundle as something else than a bundle, such as C for a microcontroller.

In: a bundle. Out: a folder of source files. Nothing here imports TensorFlow.
"""
