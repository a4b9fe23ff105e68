"""The runtimes: one adapter per module, the table of them, and the session that checks inputs and outputs.

In: the verified bytes of a model and a batch of images. Out: logits, float32.
A runtime's package is imported only when a session opens it.
"""
