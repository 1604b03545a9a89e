"""ONNX files with QuantizeLinear and DequantizeLinear, which ONNX Runtime runs and TensorRT reads."""
