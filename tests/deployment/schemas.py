"""The schemas that servers check a configuration against, from the packages that their makers publish.

Nothing of these packages is imported or installed: their wheels are downloaded and read.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


def wheel(package: str, folder: Path) -> zipfile.ZipFile:
    """Download a package of one wheel, without what it depends on."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (file,) = folder.glob(f"{re.split('[<=]', package)[0]}-*.whl")
    return zipfile.ZipFile(file)


def triton_model_config(folder: Path) -> Any:
    """Triton's message ModelConfig: the descriptor that tritonclient has compiled in."""
    source = wheel("tritonclient", folder).read("tritonclient/grpc/model_config_pb2.py")
    (serialized,) = (
        node.args[0].value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and getattr(node.func, "attr", "") == "AddSerializedFile"
        and isinstance(node.args[0], ast.Constant)
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(descriptor_pb2.FileDescriptorProto.FromString(serialized))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))


class Resources:
    """The types of Kubernetes and KServe, as their Python clients describe them.

    Args:
        folder: where the wheels are downloaded to.
    """

    def __init__(self, folder: Path) -> None:
        self._sources: dict[str, str] = {}
        for package in ("kubernetes<37", "kserve"):  # from 37 on, its models are written in another way
            archive = wheel(package, folder)
            for name in archive.namelist():
                if "/models/" in name and name.endswith(".py"):
                    self._sources[Path(name).stem.replace("_", "")] = archive.read(name).decode()

    def unknown(self, value: Any, kind: str, place: str = "") -> Iterator[str]:
        """Yield the place of every field of `value` that its type, such as "V1Deployment", does not have."""
        kind = kind.replace("(", "[").replace(")", "]")
        if kind.startswith("list["):
            for i, item in enumerate(value):
                yield from self.unknown(item, kind[5:-1], f"{place}[{i}]")
        elif kind.startswith("dict["):
            for key, item in value.items():
                yield from self.unknown(item, kind[5:-1].partition(", ")[2], f"{place}.{key}")
        elif (source := self._sources.get(kind.lower())) is not None:
            types, names = (_constant(source, name) for name in ("openapi_types", "attribute_map"))
            fields = {names[name]: kind for name, kind in types.items()}
            for key, item in value.items():
                if key not in fields:
                    yield f"{place}.{key}"
                else:
                    yield from self.unknown(item, fields[key], f"{place}.{key}")
        elif kind in _PLAIN:
            if not isinstance(value, _PLAIN[kind]) or isinstance(value, bool) != (kind == "bool"):
                yield f"{place}: {value!r} is not {kind}"
        else:
            assert kind in ("ResourceQuantity", "object"), kind


_PLAIN = {"str": str, "int": int, "bool": bool, "float": (int, float)}


def _constant(source: str, name: str) -> dict[str, str]:
    """A class attribute of a generated model that is a dict of strings."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
            return ast.literal_eval(node.value)
    raise AssertionError(f"no {name}")
