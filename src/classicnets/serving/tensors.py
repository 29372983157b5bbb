"""Tensors of the Open Inference Protocol: JSON or raw little-endian bytes, in and out.

A body with the header Inference-Header-Content-Length is JSON of that length, then the raw tensors in order, each as
long as its `binary_data_size`. An element of type BYTES is four bytes with its length, then its content.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal

import numpy as np

from classicnets.serving.refusal import Refusal

_WORTH_IT = 1024  # bytes from which a body is compressed

Datatype = Literal["UINT8", "BYTES", "FP32"]


@dataclass(frozen=True)
class Output:
    """An output that is asked for: as raw bytes or JSON, and with how many classes as words (0: as numbers)."""

    name: str
    binary: bool
    classification: int = 0


@dataclass(frozen=True)
class Request:
    """An inference request.

    Attributes:
        id: what the client calls it.
        images: prepared images, uint8 (N, C, H, W), or the contents of N image files.
        outputs: what is asked for; empty for everything.
        binary: whether outputs that are not named are raw bytes.
    """

    images: np.ndarray | list[bytes]
    id: str | None = None
    outputs: tuple[Output, ...] = ()
    binary: bool = False


@dataclass
class Tensor:
    """An output tensor: numbers or words."""

    name: str
    values: np.ndarray
    binary: bool
    words: list[str] = field(default_factory=list)


def read_request(body: bytes, header_length: str | None, *, most: int) -> Request:
    """Parse an inference request with at most `most` images. Raises Refusal (400) for anything else."""
    length = len(body)
    if header_length is not None:
        if not header_length.isdigit() or int(header_length) > len(body):
            raise _bad("Inference-Header-Content-Length is not the length of the JSON part")
        length = int(header_length)
    try:
        values = json.loads(body[:length])
    except (ValueError, RecursionError):
        raise _bad("the body is not JSON. Raw tensors need the header Inference-Header-Content-Length") from None
    if not isinstance(values, dict):
        raise _bad("the body is not a JSON object")
    inputs = values.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise _bad('"inputs" must have one tensor')
    parameters = _object(values.get("parameters", {}), "parameters")
    named = values.get("outputs", [])
    if not isinstance(named, list):
        raise _bad('"outputs" must be a list')
    identity = values.get("id")
    return Request(
        images=_input(inputs[0], body[length:], most),
        id=identity if isinstance(identity, str) else None,
        outputs=tuple(map(_output, named)),
        binary=parameters.get("binary_data_output") is True,
    )


def _input(tensor: dict[str, Any], raw: bytes, most: int) -> np.ndarray | list[bytes]:
    name, datatype, shape = tensor.get("name"), tensor.get("datatype"), tensor.get("shape")
    if not isinstance(shape, list) or not shape or not all(type(side) is int and side > 0 for side in shape):
        raise _bad('the "shape" of the input must be a list of whole numbers from 1')
    if shape[0] > most:
        raise _bad(f"the request has {shape[0]} images; the limit is {most}")
    size = _object(tensor.get("parameters", {}), "parameters").get("binary_data_size")
    if size is not None and (type(size) is not int or size != len(raw)):
        raise _bad(f"binary_data_size is {size}, and {len(raw)} bytes follow the JSON")
    if size is None and "data" not in tensor:
        raise _bad('the input has neither "data" nor "binary_data_size"')
    if len(shape) > 4:
        raise _bad('the "shape" of the input has at most four numbers')
    count = math.prod(shape)
    if (name, datatype) == ("images", "UINT8"):
        flat = np.frombuffer(raw, np.uint8) if size is not None else _numbers(tensor["data"])
        if flat.size != count:
            raise _bad(f"the shape {shape} needs {count} values, got {flat.size}")
        return flat.reshape(shape)
    if (name, datatype) == ("encoded", "BYTES"):
        files = _split(raw) if size is not None else [_decoded(item) for item in _flat(tensor["data"])]
        if len(files) != count or len(shape) > 2:
            raise _bad(f"the shape {shape} needs {count} images, got {len(files)}")
        return files
    raise _bad(f'the input must be "images" UINT8 or "encoded" BYTES, got {name!r} {datatype!r}')


def _numbers(data: Any) -> np.ndarray:
    try:
        values = np.array(data)
    except ValueError:
        raise _bad("the rows of the data have different lengths") from None
    if values.dtype.kind not in "iu" or (values.size and not (values.min() >= 0 and values.max() <= 255)):
        raise _bad("UINT8 data must be whole numbers from 0 to 255")
    return values.astype(np.uint8).ravel()


def _flat(data: Any) -> list[Any]:
    return (
        [item for row in data for item in (row if isinstance(row, list) else [row])] if isinstance(data, list) else []
    )


def _decoded(item: Any) -> bytes:
    """In JSON, the content of a file is base64."""
    try:
        return base64.b64decode(item, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise _bad("BYTES in JSON must be base64") from None


def _split(raw: bytes) -> list[bytes]:
    parts, place = [], 0
    while place < len(raw):
        if place + 4 > len(raw):
            raise _bad("a BYTES element is cut short")
        (length,) = struct.unpack_from("<I", raw, place)
        place += 4
        if place + length > len(raw):
            raise _bad("a BYTES element is cut short")
        parts.append(raw[place : place + length])
        place += length
    return parts


def _output(value: Any) -> Output:
    values = _object(value, "outputs")
    parameters = _object(values.get("parameters", {}), "parameters")
    classes = parameters.get("classification", 0)
    if type(classes) is not int or classes < 0:
        raise _bad('"classification" must be a whole number from 0')
    return Output(str(values.get("name")), parameters.get("binary_data") is True, classes)


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _bad(f'"{name}" must be an object')
    return value


def to_body(model: str, version: str, identity: str | None, tensors: Sequence[Tensor]) -> tuple[bytes, int | None]:
    """Return the body of a response, and the length of its JSON part if raw tensors follow it."""
    outputs, raw = [], []
    for tensor in tensors:
        described: dict[str, Any] = {
            "name": tensor.name,
            "datatype": "BYTES" if tensor.words else "FP32",
            "shape": list(tensor.values.shape),
        }
        if tensor.binary:
            content = _joined(tensor.words) if tensor.words else tensor.values.astype("<f4").tobytes()
            described["parameters"] = {"binary_data_size": len(content)}
            raw.append(content)
        else:
            described["data"] = tensor.words or tensor.values.ravel().tolist()
        outputs.append(described)
    values = {"model_name": model, "model_version": version, "outputs": outputs}
    head = json.dumps(values if identity is None else {**values, "id": identity}).encode()
    return b"".join([head, *raw]), len(head) if raw else None


def compressed(content: bytes, accepted: str) -> tuple[bytes, str]:
    """Return a body as Accept-Encoding has it, and its Content-Encoding: gzip, deflate, or empty for a small body."""
    parts = [part.replace(" ", "").lower() for part in accepted.split(",")]
    names = [part.partition(";")[0] for part in parts if not part.endswith(";q=0")]
    if len(content) >= _WORTH_IT:
        for name, wbits in (("gzip", 31), ("deflate", 15)):
            if name in names:
                packer = zlib.compressobj(level=1, wbits=wbits)
                return packer.compress(content) + packer.flush(), name
    return content, ""


def _joined(words: Sequence[str]) -> bytes:
    contents = [word.encode() for word in words]
    return b"".join(struct.pack("<I", len(content)) + content for content in contents)


def _bad(what: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, f"{what[0].upper()}{what[1:]}.")
