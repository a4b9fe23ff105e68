"""Benchmark and parity results as one HTML page.

In: the JSON files of `edgedigits benchmark` and `edgedigits parity`. Out: a self-contained page and a recommendation.
The page needs no network and no scripts.
"""
