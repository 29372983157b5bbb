"""int8: post-training quantisation by NNCF (OpenVINO) and by ONNX Runtime, under a limit on the loss of accuracy."""

from classicnets.deployment.quantize.calibration import calibration_images
from classicnets.deployment.quantize.control import Quantized, quantize_within
from classicnets.deployment.quantize.worth import INT8_GAIN

__all__ = ["INT8_GAIN", "Quantized", "calibration_images", "quantize_within"]
