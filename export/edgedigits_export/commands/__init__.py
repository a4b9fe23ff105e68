"""The workstation commands, one click command a file: train, export, plot and run.

In: the command line. Out: files under build/, progress on standard error and an exit status.
Only click is imported here, so that `edgedigits --help` stays quick.
"""
