"""Every way to run an artifact: one adapter a file, the table of them, and the session that checks what goes in.

In: the verified bytes of a model and a batch of images. Out: logits, float32.
A runtime's package is imported only when a session opens it.
"""
