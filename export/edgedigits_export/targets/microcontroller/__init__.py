"""A full-integer int8 model as a C99 library, bit for bit equal to the kernel set ``reference``.

In: a bundle. Out: an Arduino library (1.5 layout) that is plain C too. Needs NumPy, Jinja2 and the numpy runtime only.
"""
