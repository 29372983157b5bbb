"""Write a deployable network as one ONNX file, `model.onnx`, for any number of images at a time.

    network -> torch.fx's graph of layers -> a node of ONNX for each, by the table in `onnx_ops`

The writer is our own, because the networks are made of few kinds of layers. Nodes are called as the layers are, local
response normalisation stays one operation, and hundreds of layers take a second: `torch.onnx.export` takes minutes.
What it writes is checked by `onnx.checker` and against the network itself (`verify`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from classicnets.deployment.graph import Deployable
from classicnets.deployment.onnx_ops import FUNCTIONS, LAYERS, Writer, size
from classicnets.deployment.whole_image import write_geometry
from classicnets.errors import ExportMismatch
from classicnets.preprocess import Preprocess

INPUT = "images"
"""The name of the graph's input: uint8 (N, C, H, W)."""

_OPSET, _IR = 20, 10  # of 2023: every engine of the last two years reads it
_ONLY_TRAINING = {"BatchNormalization", "Dropout", "Identity"}


def write_onnx(
    network: Deployable, path: Path, *, whole_image: Preprocess | None = None, metadata: Mapping[str, Any] | None = None
) -> None:
    """Write the network to one new file.

    Args:
        network: what `deployable` returns.
        path: the file.
        whole_image: the preprocessing whose resize and crop become a part of the graph. It then takes images of any
            size, uint8 (N, C, H, W); None takes images of the network's size.
        metadata: facts to keep in the file, by name; values that are not texts are written as JSON.

    Raises ExportMismatch if the graph is not as it must be, StorageError if the disk refuses.

    >>> write_onnx(deployable(classifier), Path("model.onnx"))  # doctest: +SKIP
    """
    model = to_onnx(network, whole_image=whole_image)
    for key, value in (metadata or {}).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    path.write_bytes(model.SerializeToString())


def to_onnx(network: Deployable, *, whole_image: Preprocess | None = None) -> onnx.ModelProto:
    """Return the network as an ONNX model, as `write_onnx` writes it. Raises ExportMismatch."""
    traced = _Tracer().trace(network)
    module = fx.GraphModule(network, traced)
    with torch.inference_mode():
        ShapeProp(module).propagate(torch.zeros(1, *network.input_shape, dtype=torch.uint8))
    writer = Writer()
    pixels = write_geometry(writer, INPUT, whole_image) if whole_image else INPUT
    results = _write_nodes(writer, module, pixels, network.outputs)
    seen = ["N", network.input_shape[0], "H", "W"] if whole_image else ["N", *network.input_shape]
    shapes: dict[str, tuple[int, list[Any]]] = {INPUT: (TensorProto.UINT8, seen)}
    for name, node in zip(network.outputs, results, strict=True):
        shapes[name] = (TensorProto.FLOAT, ["N", *size(node)[1:]])
    infos = {name: helper.make_tensor_value_info(name, *shape) for name, shape in shapes.items()}
    outputs = [infos[name] for name in network.outputs]
    graph = helper.make_graph(writer.nodes, "classifier", [infos[INPUT]], outputs, list(writer.constants.values()))
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR, producer_name="classicnets"
    )
    check(model)
    return model


def check(model: onnx.ModelProto) -> None:
    """Raise ExportMismatch unless the model is valid, and free of what only training needs.

    `onnx.checker` infers all shapes, and takes models of up to 2 GiB, the limit of a single file.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportMismatch(f"The ONNX graph is not valid: {error}. Please report it.") from None
    kinds = {node.op_type for node in model.graph.node}
    used = {name for node in model.graph.node for name in node.input}
    left = sorted(kinds & _ONLY_TRAINING) + [c.name for c in model.graph.initializer if c.name not in used]
    left += [node.name for node in model.graph.node if "aux_" in node.name]
    if left:
        raise ExportMismatch(f"The ONNX graph holds what only training needs: {', '.join(left[:5])}. Please report it.")


class _Tracer(fx.Tracer):
    """Looks into every module that is no layer of `LAYERS`."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in LAYERS


def _write_nodes(writer: Writer, module: fx.GraphModule, pixels: str, outputs: tuple[str, ...]) -> list[fx.Node]:
    """Write every node of the traced module, and return those of the outputs, which get their names."""
    results: list[fx.Node] = next(node for node in module.graph.nodes if node.op == "output").args[0]
    named = dict(zip(results, outputs, strict=True))
    values: dict[fx.Node, str] = {}
    for node in module.graph.nodes:
        if node.op == "placeholder":
            values[node] = pixels
        elif node.op == "get_attr":
            values[node] = writer.constant(getattr(module, str(node.target)), str(node.target))
        elif node.op == "call_module":
            layer, (x,) = module.get_submodule(str(node.target)), node.args
            assert isinstance(x, fx.Node)
            values[node] = LAYERS[type(layer)](writer, str(node.target), layer, values[x], size(x), size(node))
        elif node.op != "output":
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
            write = FUNCTIONS[node.target]
            values[node] = write(writer, named.get(node, node.name), *args, **kwargs)
    return results
