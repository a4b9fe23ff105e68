"""Processes, files, limits on input, and the terminal: what the operating system offers, made safe to use.

In: a task to run apart, a file to read or write, a result to print. Out: an outcome, checked content, an exit status.
Nothing here knows about bundles, models or pictures.
"""
