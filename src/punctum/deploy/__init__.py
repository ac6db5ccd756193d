"""Prediction with an exported model: NumPy, OpenCV and ONNX Runtime, without torch."""

from punctum.deploy.onnx_predictor import OnnxPredictor

__all__ = ["OnnxPredictor"]
