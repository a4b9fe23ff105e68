"""The workstation side: train, export, quantize, draw. Needs TensorFlow, tf2onnx, onnx and matplotlib."""
