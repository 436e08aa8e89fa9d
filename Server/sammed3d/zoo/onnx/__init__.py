"""Models as ONNX files: writing and running them."""
