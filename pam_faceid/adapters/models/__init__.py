"""ONNX models: the manifest that pins them and the networks that they hold."""
