"""Checkpoints of every make are opened; nothing in them ever runs."""

import argparse
import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from classicnets.errors import WeightsError
from classicnets.weights import files
from classicnets.weights.read import read

STATE = {"conv1.weight": torch.randn(4, 3, 3, 3), "bn1.running_mean": torch.randn(4), "fc.bias": torch.arange(5.0)}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[key], b[key]) for key in a)


# ---- what is opened ----


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".th", ".bin", ".safetensors", ""])
@pytest.mark.parametrize("make", ["zip", "legacy"])
def test_torch_files_of_both_kinds_under_any_suffix(tmp_path: Path, suffix: str, make: str) -> None:
    path = tmp_path / f"w{suffix}"
    torch.save(STATE, path, _use_new_zipfile_serialization=make != "legacy")
    checkpoint = read(path)
    assert same(checkpoint.state, STATE)
    assert checkpoint.found == ("PyTorch file of the old kind" if make == "legacy" else "PyTorch file")


def test_safetensors_under_any_suffix(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "w.bin")
    assert read(tmp_path / "w.bin").state.keys() == STATE.keys()
    assert read(tmp_path / "w.bin").found == "safetensors"


@pytest.mark.parametrize(
    ("wrap", "found"),
    [
        (lambda s: {"state_dict": s, "epoch": 90, "optimizer": {"state": {0: s}}}, "in 'state_dict'"),
        (lambda s: {"model": s, "args": argparse.Namespace(lr=0.1, data="imagenet")}, "in 'model'"),
        (lambda s: {"model_state_dict": s}, "in 'model_state_dict'"),
        (lambda s: {"state_dict": {"fc.bias": torch.zeros(1)}, "state_dict_ema": s}, "in 'state_dict_ema'"),
        (
            lambda s: {"net": {f"module.{k}": v for k, v in s.items()}, "acc": 95.1},
            "in 'net', prefix 'module.' removed",
        ),
        (lambda s: {"epoch": 3, "generator": s}, "in 'generator'"),
        (lambda s: {f"_orig_mod.module.{k}": v for k, v in s.items()}, "prefix '_orig_mod.module.' removed"),
        (lambda s: {"n_averaged": torch.tensor(3), **{f"module.{k}": v for k, v in s.items()}}, "prefix 'module.'"),
        (lambda s: {k: nn.Parameter(v) for k, v in s.items()}, "PyTorch file"),
    ],
)
def test_wrappers_and_prefixes_are_undone(
    tmp_path: Path, wrap: Callable[[dict[str, Tensor]], dict[str, Any]], found: str
) -> None:
    torch.save(wrap(STATE), tmp_path / "w.pth")
    checkpoint = read(tmp_path / "w.pth")
    assert same(checkpoint.state, STATE)
    assert found in checkpoint.found
    assert not any(tensor.requires_grad for tensor in checkpoint.state.values())


@pytest.mark.parametrize("prefix", ["model.", "backbone.", "net.", "network.", "module.", "model.backbone."])
def test_keys_beside_the_prefix_of_the_network_are_left_out_and_named(tmp_path: Path, prefix: str) -> None:
    network = {f"{prefix}{key}": value for key, value in STATE.items()}
    torch.save({"state_dict": {"criterion.weight": torch.ones(2), **network}}, tmp_path / "w.ckpt")
    checkpoint = read(tmp_path / "w.ckpt")
    assert same(checkpoint.state, STATE)
    first = prefix.split(".")[0] + "."
    assert checkpoint.notes == (f"Left out keys without the prefix '{first}': criterion.weight.",)
    torch.save({"state_dict": network}, tmp_path / "w.ckpt")
    assert same(read(tmp_path / "w.ckpt").state, STATE)
    assert read(tmp_path / "w.ckpt").notes == ()


@pytest.mark.parametrize(
    "state",
    [
        {**STATE, "model.x": torch.zeros(1)},
        {"model.a": torch.zeros(1), "net.a": torch.zeros(1), "b": torch.zeros(1)},
        {"model.a": torch.zeros(1), "average.a": torch.zeros(1), "average.b": torch.zeros(1)},
    ],
)
def test_a_prefix_that_is_not_clearly_the_networks_stays(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save(state, tmp_path / "w.pth")
    assert same(read(tmp_path / "w.pth").state, state)


def test_of_a_network_and_its_average_the_average_is_taken(tmp_path: Path) -> None:
    last = {f"model.{key}": value + 1 for key, value in STATE.items()}
    torch.save({**last, **{f"average.{key}": value for key, value in STATE.items()}}, tmp_path / "w.pth")
    checkpoint = read(tmp_path / "w.pth")
    assert same(checkpoint.state, STATE)
    assert checkpoint.notes == ("Took the averaged weights; those of the last step are left out.",)


def test_a_real_data_parallel_checkpoint(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(2, 2))
    torch.save(nn.DataParallel(net).state_dict(), tmp_path / "w.pth")
    assert same(read(tmp_path / "w.pth").state, net.state_dict())


def test_old_densenet_keys_become_todays(tmp_path: Path) -> None:
    torch.save(
        {
            "features.denseblock1.denselayer12.norm.1.weight": torch.zeros(1),
            "features.denseblock1.denselayer12.conv.2.weight": torch.zeros(1),
            "features.transition1.norm.weight": torch.zeros(1),
        },
        tmp_path / "w.pth",
    )
    assert list(read(tmp_path / "w.pth").state) == [
        "features.denseblock1.denselayer12.norm1.weight",
        "features.denseblock1.denselayer12.conv2.weight",
        "features.transition1.norm.weight",
    ]


def test_a_checkpoint_from_a_gpu_opens_without_one(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "cpu.pth")
    with zipfile.ZipFile(tmp_path / "cpu.pth") as old, zipfile.ZipFile(tmp_path / "cuda.pth", "w") as new:
        for member in old.infolist():
            content = old.read(member)
            if member.filename.endswith("data.pkl"):
                assert content.count(b"X\x03\x00\x00\x00cpu") == 1  # later ones refer to it
                content = content.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:7")
            new.writestr(member, content)
    state = read(tmp_path / "cuda.pth").state
    assert same(state, STATE)
    assert {tensor.device.type for tensor in state.values()} == {"cpu"}


# ---- what is refused, without effect ----


class Payload:
    """Unpickled by a careless reader, this creates a file."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.victim}",)


def _plain_pickle(content: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(content, protocol=2))


def _legacy(content: object, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("write", [torch.save, _legacy, _plain_pickle])
@pytest.mark.parametrize("place", ["whole", "beside the weights", "in the weights"])
def test_a_malicious_pickle_is_refused_and_does_not_run(
    tmp_path: Path, write: Callable[[object, Path], None], place: str
) -> None:
    victim = tmp_path / "ran"
    payload: Any = Payload(victim)
    content = {"whole": payload, "beside the weights": {"state_dict": STATE, "x": payload}}.get(place, {"w": payload})
    path = tmp_path / "w.pth"
    write(content, path)
    with pytest.raises(WeightsError):
        read(path)
    assert not victim.exists()
    # The payload is live: whoever trusts the file, as pickle does, runs it.
    if write is _plain_pickle:
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert victim.exists()


def test_what_a_file_asks_for_is_named_with_the_way_out(tmp_path: Path) -> None:
    torch.save(Payload(tmp_path / "ran"), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"asks for \w+\.system, .* torch\.save\(model\.state_dict"):
        read(tmp_path / "w.pth")
    torch.save(nn.Linear(1, 1), tmp_path / "model.pth")
    with pytest.raises(WeightsError, match=r"asks for torch\.nn\.modules\.linear\.Linear"):
        read(tmp_path / "model.pth")


def test_a_torchscript_program_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
        archive.writestr("w/data.pkl", b"\x80\x02}q\x00.")
        archive.writestr("w/constants.pkl", b"\x80\x02).")
        archive.writestr("w/code/__torch__.py", "class Net(Module): ...")
    with pytest.raises(WeightsError, match="TorchScript program"):
        read(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no weights file: it starts with b''"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"PK\x03\x04 but no archive", "cut short or damaged"),
        (b"\x80\x02}q\x00.", "not a complete PyTorch weights file"),
        (b"\x80\x02", "not a complete PyTorch weights file"),
        (b"\x80" + b"(" * 100_000, "not a complete PyTorch weights file"),
        (struct.pack("<Q", 1 << 40) + b"{}", "not a complete safetensors file"),
        (struct.pack("<Q", 50) + b"{}", "not a complete safetensors file"),
    ],
)
def test_files_that_are_no_weights(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        read(tmp_path / "w.pth")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9, 0.999])
def test_truncated_torch_files(tmp_path: Path, legacy: bool, kept: float) -> None:
    buffer = io.BytesIO()
    torch.save({"w": torch.zeros(1000)}, buffer, _use_new_zipfile_serialization=not legacy)
    (tmp_path / "w.pth").write_bytes(buffer.getvalue()[: int(kept * len(buffer.getvalue()))])
    with pytest.raises(WeightsError, match=r"w\.pth"):
        read(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "a value of type list"),
        (torch.zeros(2), "a value of type Tensor"),
        ({}, "an empty dict"),
        ({"epoch": 3, "w": torch.zeros(1)}, r"a dict of 'epoch' \(int\), 'w' \(Tensor\)"),
        ({3: torch.zeros(1)}, "holds no state dict"),
        ({"generator": STATE, "critic": STATE}, "several sets of weights: 'generator', 'critic'"),
        ({"w": torch.zeros(2, 2).to_sparse()}, "w: not plain tensors"),
        ({"w": torch.zeros(2, device="meta")}, "w: not plain tensors"),
        ({"denselayer1.norm.1.bias": torch.zeros(1), "denselayer1.norm1.bias": torch.ones(1)}, "old and a new name"),
    ],
)
def test_torch_files_that_are_no_state_dict(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=message):
        read(tmp_path / "w.pth")


def test_a_state_dict_of_nothing_but_an_average_count_is_left_as_it_is(tmp_path: Path) -> None:
    torch.save({"n_averaged": torch.zeros(1)}, tmp_path / "w.pth")
    assert list(read(tmp_path / "w.pth").state) == ["n_averaged"]


def test_missing_files_folders_and_pipes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, message in [("none.pth", "No such file"), ("", "not a file"), ("pipe", "not a file"), ("a\0b", "null")]:
        with pytest.raises(WeightsError, match=message):
            read(tmp_path / path)


# ---- sizes ----


def test_a_zip_that_unpacks_to_gigabytes_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("classicnets.weights.read.MAX_BYTES", 1_000_000)
    with zipfile.ZipFile(tmp_path / "w.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/data.pkl", b"\x80\x02}q\x00.")
        archive.writestr("w/data/0", bytes(2_000_000))
    assert (tmp_path / "w.pth").stat().st_size < 10_000
    with pytest.raises(WeightsError, match=r"unpacks to 2,000,0\d\d bytes; at most 1,000,000"):
        read(tmp_path / "w.pth")


def test_a_tensor_that_claims_more_than_its_memory_is_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(1).expand(1 << 40)}, tmp_path / "w.pth")
    assert (tmp_path / "w.pth").stat().st_size < 10_000
    with pytest.raises(WeightsError, match="its tensors claim 4,398,046,511,104 bytes"):
        read(tmp_path / "w.pth")


def test_a_storage_that_claims_more_than_the_file_is_refused(tmp_path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))
    with pytest.raises(WeightsError, match="not a complete safetensors file"):
        read(tmp_path / "w.safetensors")


def test_a_file_above_the_limit_is_refused_unread(tmp_path: Path) -> None:
    with open(tmp_path / "w.pth", "wb") as file:
        file.truncate(files.MAX_BYTES + 1)  # a sparse file: it takes no room
    with pytest.raises(WeightsError, match="at most 4,294,967,296"):
        read(tmp_path / "w.pth")
