"""Training: the notebook and robust recipes, their augmentation, and the calibration of probabilities.

In: X and y. Out: a Keras model with its history.
Runs on a workstation only.
"""
