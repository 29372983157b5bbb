"""Our own weights files: written whole or not at all, read strictly, loaded key by key."""

import hashlib
import stat
import struct
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from classicnets.errors import KeysMismatch, StorageError, WeightsError
from classicnets.system.storage import sha256_of
from classicnets.weights.files import load_into, load_safetensors, save_safetensors


class Net(nn.Module):
    """The shape of ours: a trunk and a head whose classifier may differ."""

    def __init__(self, classes: int = 3, aux: bool = False) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.head = nn.Sequential()
        self.head.add_module("classifier", nn.Linear(4, classes))
        if aux:
            self.aux_4a = nn.Linear(4, classes)


def state_of(net: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in net.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_a_state_dict_comes_back_as_it_was_and_its_bytes_depend_on_nothing_else(tmp_path: Path) -> None:
    net = Net().to(memory_format=torch.channels_last)
    state = state_of(net)
    save_safetensors(tmp_path / "a.safetensors", state)
    save_safetensors(tmp_path / "b.safetensors", dict(reversed(state.items())))
    assert same(load_safetensors(tmp_path / "a.safetensors"), state)
    assert sha256_of(tmp_path / "a.safetensors") == sha256_of(tmp_path / "b.safetensors")


def test_a_saved_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    save_safetensors(tmp_path / "w.safetensors", state_of(Net()))
    assert stat.S_IMODE((tmp_path / "w.safetensors").stat().st_mode) == stat.S_IMODE(
        (tmp_path / "plain").stat().st_mode
    )


def test_sha256_of_a_file_larger_than_a_chunk(tmp_path: Path) -> None:
    data = bytes(range(256)) * 20_000
    (tmp_path / "f").write_bytes(data)
    assert sha256_of(tmp_path / "f") == hashlib.sha256(data).hexdigest()


def test_a_disk_that_refuses_is_a_storage_error_naming_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/w\.safetensors"):
        save_safetensors(tmp_path / "file" / "w.safetensors", state_of(Net()))


@pytest.mark.parametrize(
    "content",
    [b"", b"12345678", struct.pack("<Q", 1 << 40) + b"{}", struct.pack("<Q", 2) + b"xx", b"\x80\x02}q\x00."],
    ids=["empty", "text", "huge header", "not JSON", "pickle"],
)
def test_a_damaged_safetensors_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match="not a complete safetensors file"):
        load_safetensors(tmp_path / "w.safetensors")


def test_a_truncated_a_missing_and_a_folder_path_are_refused(tmp_path: Path) -> None:
    save_safetensors(tmp_path / "w.safetensors", state_of(Net()))
    whole = (tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "w.safetensors").write_bytes(whole[:-1])
    for path, message in [
        (tmp_path / "w.safetensors", "not a complete"),
        (tmp_path / "none", "No such file"),
        (tmp_path, "not a file"),
    ]:
        with pytest.raises(WeightsError, match=message):
            load_safetensors(path)


def test_loading_is_strict_lists_every_key_and_touches_nothing() -> None:
    net = Net()
    before = state_of(net)
    state = {**state_of(Net()), "trunk.0.weight": torch.zeros(4, 1, 3, 3), "surplus.weight": torch.zeros(1)}
    del state["trunk.1.running_mean"]
    with pytest.raises(KeysMismatch) as caught:
        load_into(net, state, name="old.safetensors")
    assert caught.value.missing == ("trunk.1.running_mean",)
    assert caught.value.unexpected == ("surplus.weight",)
    assert caught.value.misshaped == ("trunk.0.weight: (4, 1, 3, 3) given, (4, 3, 3, 3) in the model",)
    assert "old.safetensors: 3 weights do not fit the model" in str(caught.value)
    assert same(before, state_of(net))


def test_head_replace_lets_exactly_the_head_differ_and_says_so() -> None:
    net, other = Net(classes=5), Net(classes=3, aux=True)
    fresh = state_of(net)
    with pytest.raises(KeysMismatch, match="head='replace'"):
        load_into(net, other.state_dict())
    notes = load_into(net, other.state_dict(), head="replace")
    assert notes == [
        "Started afresh, as the weights are for another classifier: head.classifier.",
        "Left out, as the model has none: aux_4a.",
    ]
    after = state_of(net)
    for key in after:
        assert torch.equal(after[key], (fresh if key.startswith("head.") else state_of(other))[key]), key
    assert load_into(Net(aux=True), state_of(Net()), head="replace") == [
        "Started afresh, as the weights have none: aux_4a."
    ]
    with pytest.raises(KeysMismatch) as caught:
        load_into(net, {**other.state_dict(), "trunk.9": torch.zeros(1)}, head="replace")
    assert caught.value.unexpected == ("trunk.9",)
    assert caught.value.misshaped == ()


def test_complex_weights_are_refused_instead_of_losing_half_of_each_number() -> None:
    net = Net()
    state = {**state_of(net), "head.classifier.bias": torch.zeros(3, dtype=torch.complex64)}
    with pytest.raises(KeysMismatch, match="complex64"):
        load_into(net, state)
