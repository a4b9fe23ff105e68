"""From a picture file to the model's input.

In: a file of any size, a photo, a scan or a drawing. Out: the 20x20 input row, and whether it looks like one digit.
The steps in order: decoding, background, segmentation, normalization, plausibility, predictions.
"""
