"""Convert an ONNX file to OpenVINO's own format: `model.xml`, the graph, and `model.bin`, the weights."""

from __future__ import annotations

from pathlib import Path


def write_ir(onnx_file: Path, xml: Path) -> None:
    """Write `xml` and, beside it, its weights with the suffix .bin, in float32.

    `core.read_model` reads the file. OpenVINO's converter, which reports its use over the network, is not called, and
    weights are not compressed to float16, which `save_model` does by default.

    Args:
        onnx_file: what `write_onnx` wrote.
        xml: a new file that ends with .xml.

    Raises OSError if the disk refuses.

    >>> write_ir(Path("model.onnx"), Path("model.xml"))  # doctest: +SKIP
    """
    import openvino

    from classicnets.deployment.openvino_core import core

    model = core().read_model(onnx_file)
    try:
        openvino.save_model(model, xml, compress_to_fp16=False)
    except RuntimeError:  # it does not say why
        raise OSError("OpenVINO could not write its files") from None
