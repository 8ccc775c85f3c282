"""A trained model as one ONNX file, and predictions from that file without torch."""
