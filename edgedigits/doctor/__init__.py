"""What this machine can run, and the command that installs or repairs what is missing or broken.

In: this machine. Out: the state of every runtime and package, with a remedy for each problem.
Every runtime is tried in a separate process.
"""
