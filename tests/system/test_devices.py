"""Devices and precisions: what this machine has, what "auto" means, and settings that are given back."""

import pytest
import torch

from classicnets.errors import ConfigError
from classicnets.system.devices import (
    Precision,
    choose_device,
    fast_training,
    fastest_precision,
    synchronize,
)

CUDA = torch.device("cuda:0")


@pytest.fixture
def cards(monkeypatch):
    """Let this machine seem to have GPUs of a compute capability, by name."""

    def has(*names, capability=(8, 0)):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(names))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda i=None: names[i or 0])
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)

    return has


def test_a_device_that_is_not_there_is_refused_and_those_that_are_there_are_listed(cards):
    cards("Tesla T4", "Tesla V100")
    with pytest.raises(ConfigError) as caught:
        choose_device("cuda:7")
    assert str(caught.value) == (
        "No device 'cuda:7' on this machine, which has cpu, cuda:0 (Tesla T4), cuda:1 (Tesla V100). "
        "Use --device auto, or one of these."
    )


@pytest.mark.parametrize("name", ["cuda:7", "gpu", "cuda:x", "xpu", ""])
def test_without_a_gpu_there_is_the_cpu(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ConfigError, match=f"No device '{name}' on this machine, which has cpu"):
        choose_device(name)


@pytest.mark.parametrize(
    ("capability", "precision"),
    [((6, 1), "fp32"), ((7, 0), "fp16"), ((7, 5), "fp16"), ((8, 0), "bf16"), ((9, 0), "bf16")],
)
def test_auto_is_bf16_where_a_gpu_has_it_else_fp16_where_it_has_that(cards, capability, precision):
    cards("card", capability=capability)
    assert fastest_precision(CUDA) == precision
    assert Precision.choose("auto", CUDA).name == precision


def test_auto_is_never_fp16_on_a_cpu():
    assert fastest_precision(torch.device("cpu")) in ("fp32", "bf16")
    assert fastest_precision(torch.device("mps")) == "fp32"


@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
def test_a_precision_knows_its_name_and_only_fp16_scales_the_loss(name):
    precision = Precision.choose(name, torch.device("cpu"))
    assert precision.name == name
    assert precision.scaler().is_enabled() == (name == "fp16")
    with precision():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype is precision.dtype


def test_sums_are_kept_in_float64_where_the_device_has_it():
    assert Precision.choose("fp32", CUDA).widest is torch.float64
    assert Precision.choose("fp32", torch.device("mps")).widest is torch.float32


def settings():
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark


def test_a_training_on_a_gpu_sets_tf32_and_cudnn_for_its_time_alone():
    before = settings()
    assert before != (True, True, True)
    with fast_training(Precision(CUDA, torch.float32)):
        assert settings() == (True, True, True)
    assert settings() == before


def test_a_training_on_a_cpu_changes_neither():
    before = settings()
    with fast_training(Precision.choose("fp32", torch.device("cpu"))):
        assert settings() == before
    synchronize(torch.device("cpu"))
