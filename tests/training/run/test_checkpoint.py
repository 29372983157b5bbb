"""Checkpoints: whole or absent, the newest good one found, damage said."""

import sys

import pytest
import torch

from classicnets.errors import ChecksumMismatch, StorageError, WeightsError
from classicnets.training.run.checkpoint import Checkpoint, load_checkpoint, newest_checkpoint, save_checkpoint


def checkpoint(value: float) -> Checkpoint:
    return Checkpoint({"model.weight": torch.full((3,), value)}, {"step": int(value), "history": [{"epoch": 1}]})


def test_a_checkpoint_comes_back_equal(tmp_path):
    path = save_checkpoint(tmp_path, 7, checkpoint(7))
    assert path.name == "step-000007"
    assert sorted(f.name for f in path.iterdir()) == ["manifest.json", "model.safetensors", "trainer.pt"]
    found = load_checkpoint(path)
    assert torch.equal(found.tensors["model.weight"], torch.full((3,), 7.0))
    assert found.trainer == {"step": 7, "history": [{"epoch": 1}]}


def test_the_newest_two_are_kept_and_nothing_else_is_left(tmp_path):
    for step in (9, 10, 11, 1_000_000):
        save_checkpoint(tmp_path, step, checkpoint(step))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000011", "step-1000000"]
    found, notes = newest_checkpoint(tmp_path)
    assert found.trainer["step"] == 1_000_000
    assert notes == []


def test_saving_the_same_step_again_replaces_it(tmp_path):
    save_checkpoint(tmp_path, 7, checkpoint(1))
    save_checkpoint(tmp_path, 7, checkpoint(2))
    assert load_checkpoint(tmp_path / "step-000007").trainer["step"] == 2


@pytest.mark.parametrize("name", ["model.safetensors", "trainer.pt"])
def test_a_changed_byte_is_found_and_the_one_before_is_used(tmp_path, name):
    save_checkpoint(tmp_path, 1, checkpoint(1))
    newest = save_checkpoint(tmp_path, 2, checkpoint(2))
    data = bytearray((newest / name).read_bytes())
    data[-1] ^= 1
    (newest / name).write_bytes(data)
    with pytest.raises(ChecksumMismatch, match=name):
        load_checkpoint(newest)
    found, notes = newest_checkpoint(tmp_path)
    assert found.trainer["step"] == 1
    assert "step-000002" in notes[0]
    assert "Trying the checkpoint before it" in notes[0]


@pytest.mark.parametrize("name", ["model.safetensors", "trainer.pt", "manifest.json"])
def test_a_missing_file_is_found(tmp_path, name):
    path = save_checkpoint(tmp_path, 1, checkpoint(1))
    (path / name).unlink()
    with pytest.raises(WeightsError, match="not a complete checkpoint"):
        load_checkpoint(path)
    assert newest_checkpoint(tmp_path)[0] is None


def test_damaged_later_ones_make_room_for_new_ones(tmp_path):
    for step in (390, 400):
        (save_checkpoint(tmp_path, step, checkpoint(step)) / "manifest.json").unlink()
    (tmp_path / "step-000400-backup").mkdir()
    save_checkpoint(tmp_path, 10, checkpoint(10))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000010", "step-000400-backup"]
    assert newest_checkpoint(tmp_path)[0].trainer["step"] == 10


def test_no_folder_means_no_checkpoint(tmp_path):
    assert newest_checkpoint(tmp_path / "none") == (None, [])


def test_an_interrupted_save_leaves_the_one_before(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, 1, checkpoint(1))

    def full_disk(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(Exception, match="No space left"):
        save_checkpoint(tmp_path, 2, checkpoint(2))
    assert [p.name for p in tmp_path.iterdir()] == ["step-000001"]
    assert newest_checkpoint(tmp_path)[0].trainer["step"] == 1


@pytest.mark.skipif(sys.platform == "win32", reason="limits of this kind exist on POSIX only")
def test_a_disk_that_is_full_for_the_trainer_file_is_a_storage_error(tmp_path):
    """`torch.save` itself raises a RuntimeError for it."""
    import resource

    save_checkpoint(tmp_path, 1, checkpoint(1))
    large = Checkpoint({"model.weight": torch.zeros(3)}, {"momentum": torch.zeros(50_000)})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(StorageError, match="File too large"):
            save_checkpoint(tmp_path, 2, large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]
    save_checkpoint(tmp_path, 2, large)
    assert newest_checkpoint(tmp_path)[1] == []
