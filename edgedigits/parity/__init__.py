"""Does every artifact, in every runtime and with every kernel set, predict what the trained model predicts?

In: a bundle. Out: a row for each combination with its mismatches, differences and int8 leads, and a verdict.
Each row runs in a process of its own.
"""
