"""The README.md of a bundle: what it is, what was measured, and how to use it without classicnets."""

from __future__ import annotations

from typing import Any

from classicnets.deployment.manifest import Manifest
from classicnets.preprocess import Preprocess

_PILLOW_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def readme(manifest: Manifest, preprocess: Preprocess, sizes: dict[str, int], *, whole_image: bool) -> str:
    """Return the text of README.md.

    Args:
        manifest: the bundle's; its measurements are shown.
        preprocess: how an image becomes network input, which the programs repeat.
        sizes: the bytes of the network's files, by name.
        whole_image: whether there is a whole_image.onnx.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("classicnets.deployment"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    height, width = preprocess.input_size
    return environment.get_template("README.md.j2").render(
        manifest=manifest,
        card=manifest.card,
        measured=manifest.measured,
        engine=manifest.engine if manifest.engine != "torch" else "onnxruntime",
        sizes={name: f"{size / 1e6:,.1f} MB" for name, size in sizes.items()},
        channels=preprocess.channels,
        height=height,
        width=width,
        resize_to=preprocess.target,
        resize=preprocess.resize,
        filter=preprocess.interpolation.upper(),
        mode=_PILLOW_MODES.get(preprocess.channels),
        whole_image=whole_image,
        python=python_lines(manifest, preprocess),
    )


def python_lines(manifest: Manifest, preprocess: Preprocess) -> str:
    """Return a program that answers one image with Pillow, numpy and the engine: its argument is the image."""
    mode = _PILLOW_MODES.get(preprocess.channels)
    engine = manifest.engine
    lines = ["import sys", "from pathlib import Path", "import numpy as np"]
    lines += [f"import {'openvino' if engine == 'openvino' else 'onnxruntime'}"]
    if mode:
        lines += ["from PIL import Image, ImageOps", "", *_pillow(mode, preprocess)]
    else:
        lines += ["", f"pixels = np.load(sys.argv[1])  # uint8 (1, {preprocess.channels}, height, width)"]
    lines += _openvino(manifest) if engine == "openvino" else _onnxruntime()
    lines += [
        'labels = Path("labels.txt").read_text("utf-8").splitlines()',
        "print(labels[probabilities.argmax()], probabilities.max())",
    ]
    return "\n".join(lines) + "\n"


def _pillow(mode: str, preprocess: Preprocess) -> list[str]:
    (rows, columns), (height, width) = preprocess.target, preprocess.input_size
    beyond, how = (">=", "covers") if preprocess.resize == "crop" else ("<=", "fits into")
    lines = [f'image = ImageOps.exif_transpose(Image.open(sys.argv[1])).convert("{mode}")']
    if preprocess.resize == "squash":
        lines += [f"size = ({columns}, {rows})"]
    else:
        by_height, by_width = f"(max(1, {rows} * w // h), {rows})", f"({columns}, max(1, {columns} * h // w))"
        lines += [
            "w, h = image.size",
            f"size = {by_height} if {rows} * w {beyond} {columns} * h else {by_width}"
            f"  # {how} {columns}x{rows}, with its aspect",
        ]
    middle = "round((a - b) / 2)" + (" if a >= b else (a - b + 1) // 2" if preprocess.resize == "pad" else "")
    to_array = "np.asarray(image)[None, None]" if mode == "L" else "np.asarray(image).transpose(2, 0, 1)[None]"
    return [
        *lines,
        f"left, top = ({middle} for a, b in zip(size, ({width}, {height})))  # the middle",
        f"image = image.resize(size, Image.Resampling.{preprocess.interpolation.upper()})",
        f"image = image.crop((left, top, left + {width}, top + {height}))",
        f"pixels = {to_array}  # uint8 (1, {preprocess.channels}, {height}, {width})",
    ]


def _openvino(manifest: Manifest) -> list[str]:
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "bf16" if manifest.settings.precision == "bf16" else "f32"}
    text = ", ".join(f'"{name}": "{value}"' for name, value in settings.items())
    return [
        f'model = openvino.Core().compile_model("model.xml", "CPU", {{{text}}})',
        'probabilities = model(pixels)["probabilities"][0]',
    ]


def _onnxruntime() -> list[str]:
    return [
        'session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])',
        'probabilities = session.run(["probabilities"], {"images": pixels})[0][0]',
    ]
