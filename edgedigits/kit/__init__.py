"""Offline kits: one .zip with everything that a device without a network, pip or root needs.

In: a target, its Python version, and a bundle. Out: kit.zip with wheels, the bundle, checksums and install.sh.
"""
