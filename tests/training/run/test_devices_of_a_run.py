"""A run and its device: out of memory, another device when it goes on, fp16 with a scaled loss."""

import json

import pytest
import torch

from classicnets.errors import OutOfMemory
from classicnets.training import EpochDone, StepDone, reopen, start
from classicnets.training.run.checkpoint import newest_checkpoint
from classicnets.training.step import loop
from small import FAST

pytestmark = pytest.mark.usefixtures("plain_reports")

NARROW = (*FAST, "model.switches.widths=[4,8,8]", "epochs=2")
FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 15 GiB.")


def begin(folder, *settings, **options):
    job = start("resnet20_cifar", "digits", settings=[*NARROW, *settings], out=folder / "run", **options)
    job.measure = False
    return job


def exhausted_at(monkeypatch, step):
    train_step = loop.train_step

    def exhausted(session, state, *args):
        if state.step + 1 == step:
            raise FULL
        return train_step(session, state, *args)

    monkeypatch.setattr(loop, "train_step", exhausted)


def test_out_of_memory_says_what_to_lower_and_the_last_checkpoint_stands(tmp_path, monkeypatch):
    job = begin(tmp_path, checkpoint_every=1)
    exhausted_at(monkeypatch, 3)
    with pytest.raises(OutOfMemory) as caught:
        list(job)
    said = str(caught.value)
    assert caught.value.exit_code == 6
    for what in ("batch_size (it is 256)", "image_size (it is 8)", "accumulate = 2", "recompute = true"):
        assert what in said
    assert (
        f"The last checkpoint stands: classicnets train --resume {job.run.path} --set accumulate=2 --allow-change"
        in said
    )
    monkeypatch.undo()
    again = reopen(job.run, settings=["accumulate=2"], allow_change=True)
    again.measure = False
    assert next(event.step for event in again if isinstance(event, StepDone)) == 3


def test_out_of_memory_in_the_first_step_says_to_begin_again(tmp_path, monkeypatch):
    job = begin(tmp_path, "recompute=true", "accumulate=3")
    exhausted_at(monkeypatch, 1)
    with pytest.raises(OutOfMemory, match=r"accumulate = 6\b.*\. No step was saved yet, so train again") as caught:
        list(job)
    assert "recompute" not in str(caught.value)


def test_other_errors_are_not_taken_for_a_lack_of_memory(tmp_path, monkeypatch):
    job = begin(tmp_path)

    def broken(*args):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(loop, "train_step", broken)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        list(job)


@pytest.mark.parametrize(
    ("changed", "note"),
    [
        ({"device": "cuda", "accelerator": "Tesla T4"}, "device was cuda and is cpu"),
        ({"device": "cuda", "accelerator": "Tesla T4"}, "accelerator was Tesla T4 and is None"),
        ({"precision": "fp16"}, "precision was fp16 and is fp32"),
        ({"compile": True}, "compile was True and is False"),
    ],
)
def test_a_run_that_goes_on_elsewhere_says_that_bits_may_differ(tmp_path, changed, note):
    job = begin(tmp_path, checkpoint_every=1)
    for event in job:
        if isinstance(event, StepDone) and event.step == 2:
            break
    file = job.run.path / "environment.json"
    environment = json.loads(file.read_text("utf-8"))
    assert {name: environment[name] for name in ("device", "accelerator", "tf32", "cudnn_benchmark", "compile")} == {
        "device": "cpu", "accelerator": None, "tf32": False, "cudnn_benchmark": False, "compile": False
    }  # fmt: skip
    assert not any("last bits" in said for said in reopen(job.run).notes)
    file.write_text(json.dumps({**environment, **changed}), "utf-8")
    again = reopen(job.run)
    assert f"{note}: the last bits of the results may differ." in again.notes
    again.measure = False
    assert [event.epoch for event in again if isinstance(event, EpochDone)] == [1, 2]


def test_a_run_of_an_earlier_version_names_no_difference_that_it_cannot_know(tmp_path):
    job = begin(tmp_path, checkpoint_every=1)
    next(iter(job))
    file = job.run.path / "environment.json"
    environment = json.loads(file.read_text("utf-8"))
    for name in ("device", "tf32", "cudnn_benchmark", "compile"):
        del environment[name]
    file.write_text(json.dumps(environment), "utf-8")
    assert not any("last bits" in said for said in reopen(job.run).notes)


def scale_of(run):
    checkpoint, _ = newest_checkpoint(run.path / "checkpoints")
    return checkpoint.trainer["scaler"]


def test_fp16_scales_the_loss_and_goes_on_bit_for_bit_with_its_scale(tmp_path):
    """On a CPU it is slow and never chosen by itself, but it works, so the scaling is tested here."""
    job = begin(tmp_path, "precision=fp16", checkpoint_every=1)
    for event in job:
        if isinstance(event, StepDone) and event.step == 2:
            break
    assert scale_of(job.run)["scale"] > 1
    again = reopen(job.run)
    assert again._state.scaler.get_scale() == scale_of(job.run)["scale"]
    again.measure = False
    rest = [event for event in again if isinstance(event, EpochDone)]
    whole = start("resnet20_cifar", "digits", settings=[*NARROW, "precision=fp16"], out=tmp_path / "whole")
    whole.measure = False
    assert rest[-1].val_loss == [event for event in whole if isinstance(event, EpochDone)][-1].val_loss


def test_a_run_in_fp16_goes_on_in_fp32_and_the_other_way(tmp_path):
    for before, after in (("fp16", "fp32"), ("fp32", "fp16")):
        job = start(
            "resnet20_cifar", "digits", settings=[*NARROW, f"precision={before}"], out=tmp_path / before,
            checkpoint_every=1,
        )  # fmt: skip
        next(iter(job))
        again = reopen(job.run, settings=[f"precision={after}"], allow_change=True)
        again.measure = False
        assert [event.epoch for event in again if isinstance(event, EpochDone)] == [1, 2]
