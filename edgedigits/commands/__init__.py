"""The device commands, one click command a file: parse, call, print.

In: the command line. Out: text or JSON on standard output and an exit status.
Each module is imported only when its command is asked for.
"""
