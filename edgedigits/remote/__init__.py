"""Devices over ssh: install a kit there, run parity and the benchmark, and fetch the results.

In: the names of hosts as ssh takes them, and a bundle. Out: JSON files of each host, a table and a report.
"""
