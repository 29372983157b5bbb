"""int8: post-training quantisation by NNCF (OpenVINO) and by ONNX Runtime, under a limit on the loss of accuracy."""

from classicnets.deployment.quantize.calibration import calibration_images
from classicnets.deployment.quantize.control import Quantized, quantize_within

__all__ = ["Quantized", "calibration_images", "quantize_within"]
