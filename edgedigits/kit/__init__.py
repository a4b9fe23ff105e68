"""Offline kits: all that a device needs, in one .zip, for a device without a network, without pip and without root."""
