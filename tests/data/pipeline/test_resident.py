"""Images go to a GPU's memory if they fit beside the training, and a note says what was done."""

import pytest
import torch

from classicnets.data.pipeline.resident import Room
from pretend_gpu import CUDA, PretendGPU

GIB = 2**30


@pytest.fixture(autouse=True)
def _memory(monkeypatch):
    """A GPU of 10 GiB, 8 of them free."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (8 * GIB, 10 * GIB))


def images(mebibytes):
    return torch.empty(mebibytes, 1 << 20, dtype=torch.uint8, device="meta")


@pytest.fixture
def room(monkeypatch):
    """1 GiB of it: 8 free, 6 needed, a tenth of 10 spared."""
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, device: (tensor.shape, device))
    return Room(CUDA, 6 * GIB)


def test_what_fits_is_copied_and_takes_room_from_the_next(room):
    assert room.take(images(600), "training images") == ((600, 1 << 20), CUDA)
    assert room.take(images(600), "validation images") is None
    assert room.take(images(424), "other images") is not None
    assert room.notes == [
        "8.0 GiB of the GPU's 10.0 GiB are free. The training may need 6.0 GiB more, so images may take 1.0 GiB",
        "training images (600.0 MiB) are in the GPU's memory",
        "validation images (600.0 MiB) stay in the machine's memory, and each batch is copied ahead of time",
        "other images (424.0 MiB) are in the GPU's memory",
    ]


def test_a_training_that_needs_everything_leaves_no_room():
    room = Room(CUDA, 80 * GIB)
    assert room.take(images(1), "training images") is None
    assert "images may take 0 bytes" in room.notes[0]


def test_on_other_devices_nothing_is_copied_or_said():
    for name in ("cpu", "mps"):
        room = Room(torch.device(name), 0)
        assert room.take(torch.zeros(1), "training images") is None
        assert room.notes == []


def test_the_copy_is_the_images():
    pixels = torch.arange(6, dtype=torch.uint8)
    with PretendGPU():
        there = Room(CUDA, 0).take(pixels, "training images")
    assert there.device == CUDA
    assert torch.equal(there.values, pixels)
