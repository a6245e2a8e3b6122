"""The model as ONNX graphs, for onnxruntime and for browsers."""
