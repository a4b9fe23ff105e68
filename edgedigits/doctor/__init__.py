"""What this machine can run, and the line to type for what is missing or broken.

In: nothing but the machine. Out: the state of every runtime and package, with a remedy for each problem.
Every runtime is tried in a process of its own.
"""
