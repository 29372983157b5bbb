"""A trained classifier of handwritten digits, its images, and its fp32 files, made once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from classicnets.classifier import Classifier
from classicnets.data import load_data
from classicnets.data.pipeline.pack import pack
from classicnets.deployment.graph import deployable
from classicnets.deployment.onnx_file import write_onnx
from classicnets.deployment.openvino_ir import write_ir
from classicnets.deployment.quantize import calibration_images

GOLDEN = Path(__file__).parents[2] / "golden" / "0.1.0" / "finished" / "model"


@dataclass(frozen=True)
class Exported:
    """A classifier as files, images to calibrate with, and images with their classes to measure on."""

    onnx: Path
    xml: Path
    calibration: NDArray[np.uint8]
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    classifier = Classifier.load(GOLDEN)
    data = load_data("digits")
    val = pack(data.val, classifier.preprocess)
    xml, onnx = write_files(classifier, tmp_path_factory.mktemp("digits"))
    calibration = calibration_images(data.train, classifier.preprocess, count=40)
    return Exported(onnx, xml, calibration, val.images.numpy(), val.labels.numpy())


def write_files(classifier: Classifier, folder: Path) -> tuple[Path, Path]:
    """The .xml and the .onnx file of a classifier in fp32."""
    onnx, xml = folder / "fp32.onnx", folder / "fp32.xml"
    write_onnx(deployable(classifier), onnx)
    write_ir(onnx, xml)
    return xml, onnx
