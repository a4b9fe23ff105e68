"""The workstation side: train, export, quantize, draw. Needs the extra ``edgedigits[export]``."""
