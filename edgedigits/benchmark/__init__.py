"""Latency, cold start and memory, and the machine they depend on.

In: a bundle, or two earlier results to compare. Out: percentiles with confidence bounds, and warnings.
Each window of each row runs in its own process.
"""
