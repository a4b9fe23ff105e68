"""A bundle as something other than a bundle: C for a microcontroller, a web page.

In: a verified bundle. Out: source files that run and prove it elsewhere. Nothing here imports TensorFlow.
"""
