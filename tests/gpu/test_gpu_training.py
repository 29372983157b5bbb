"""A training on a GPU: it learns, waits for nothing between readings, resumes, and ends as it should."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch

from classicnets.data import Data
from classicnets.errors import OutOfMemory, TrainingDiverged
from classicnets.system.devices import Precision, fast_training, fastest_precision, has_bf16
from classicnets.training import EpochDone, Finished, Run, StepDone, reopen, start
from classicnets.training.recipe.files import with_settings
from classicnets.training.recipe.schema import Recipe
from classicnets.training.step.loop import READ_EVERY, train_step
from trainings import SmallTraining

pytestmark = pytest.mark.gpu

OPTIMIZERS = pytest.mark.parametrize(
    "settings",
    [
        ["optim.name=sgd"],
        ["optim.name=adamw", "optim.lr=0.01"],
        ["optim.name=muon", "optim.lr=0.01"],
        ["optim.clip_norm=1", "ema=0.9", "accumulate=2"],
    ],
)
PRECISIONS = pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])


def rows(events: list[StepDone | EpochDone]) -> list[EpochDone]:
    return [event for event in events if isinstance(event, EpochDone)]


@PRECISIONS
def test_it_learns(corners: Data, recipe: Recipe, gpu: str, precision: str) -> None:
    if precision == "bf16" and not has_bf16(torch.device(gpu)):
        pytest.skip("this GPU computes no bf16")
    training = SmallTraining(corners, with_settings(recipe, ["epochs=20", f"precision={precision}"]), gpu)
    training.run()
    assert training.state.history[-1].val_accuracy == 1.0
    assert training.state.history[-1].train_loss < 0.3


@OPTIMIZERS
@PRECISIONS
def test_the_host_waits_for_nothing_between_readings(
    corners: Data, recipe: Recipe, gpu: str, precision: str, settings: list[str]
) -> None:
    recipe = with_settings(recipe, [*settings, f"precision={precision}"])
    training = SmallTraining(corners, recipe, gpu)
    session, state = training.session, training.state
    batches = [batch for epoch in range(2) for batch in session.loader.batches(epoch)]
    batches = [type(batch)(*(tensor.to(gpu) for tensor in batch)) for batch in batches]
    objective = session.objective(state.model)
    for batch in batches[:3]:  # the first steps prepare memory and kernels
        train_step(session, state, batch, 0.01, objective)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in batches[3:]:
            train_step(session, state, batch, 0.01, objective, False)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert train_step(session, state, batches[0], 0.01, objective) > 0
    assert state.tally.images == 16 * (len(batches) + 1)


def test_every_step_has_an_event_and_losses_are_read_now_and_then(corners: Data, recipe: Recipe, gpu: str) -> None:
    events = SmallTraining(corners, with_settings(recipe, ["batch_size=2", "epochs=1"]), gpu).run()
    losses = [event.loss for event in events if isinstance(event, StepDone)]
    assert len(losses) == 40
    assert len(set(losses[: READ_EVERY - 1])) == 1
    assert losses[READ_EVERY - 1] != losses[0]
    assert losses[-1] != losses[-2]


def test_the_losses_are_those_of_the_cpu_at_first(corners: Data, recipe: Recipe, gpu: str) -> None:
    recipe = with_settings(recipe, ["epochs=1", "optim.lr=0.01"])
    here, there = (SmallTraining(corners, recipe, device) for device in ("cpu", gpu))
    assert rows(there.run())[0].train_loss == pytest.approx(rows(here.run())[0].train_loss, rel=1e-2)


@OPTIMIZERS
@PRECISIONS
def test_going_on_gives_the_same_within_a_hundredth(
    corners: Data, recipe: Recipe, gpu: str, precision: str, settings: list[str]
) -> None:
    """cuDNN's sums come in no fixed order. The docs promise this tolerance for the weights, relative to the largest."""
    recipe = with_settings(recipe, [*settings, f"precision={precision}", "epochs=1"])
    whole = SmallTraining(corners, recipe, gpu)
    whole.run(steps=2)
    tensors, trainer = copy.deepcopy((whole.state.tensors(), whole.state.trainer()))
    whole.run()
    rest = SmallTraining(corners, recipe, gpu)
    rest.state.restore(tensors, trainer)
    rest.run()
    assert rest.state.scaler.get_scale() == whole.state.scaler.get_scale()
    for name, tensor in whole.state.tensors().items():
        largest = float(tensor.abs().max())
        torch.testing.assert_close(rest.state.tensors()[name], tensor, rtol=0.01, atol=0.01 * largest, msg=name)


def test_a_loss_that_is_not_finite_is_reported_before_the_epoch_ends(corners: Data, recipe: Recipe, gpu: str) -> None:
    training = SmallTraining(corners, recipe, gpu)
    training.run(steps=2)
    with torch.no_grad():
        training.state.model.head.classifier.bias.fill_(torch.inf)
    weights = training.state.model.trunk.conv1.conv.weight.clone()
    with pytest.raises(TrainingDiverged, match=r"step 3.*classifier.*optim\.lr"):
        training.run()
    assert torch.equal(training.state.model.trunk.conv1.conv.weight, weights)
    assert training.state.step == 2


def test_compiled_steps_learn_and_their_checkpoints_have_the_same_names(
    corners: Data, recipe: Recipe, gpu: str
) -> None:
    recipe = with_settings(recipe, ["epochs=20", "progressive.start=0.6", "progressive.until=0.5"])
    compiled, plain = (SmallTraining(corners, recipe, gpu, compiles=compiles) for compiles in (True, False))
    compiled.run()
    assert compiled.state.history[-1].val_accuracy == 1.0
    assert list(compiled.state.tensors()) == list(plain.state.tensors())


def test_settings_of_the_process_are_restored(recipe: Recipe, gpu: str) -> None:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.benchmark
    with fast_training(Precision.choose("fp32", torch.device(gpu))):
        assert torch.backends.cuda.matmul.allow_tf32
        assert torch.backends.cudnn.benchmark
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.benchmark) == before


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on digits that was trained on the GPU."""
    *_, end = start(
        "resnet20_cifar", "digits", settings=["epochs=3", "batch_size=64"], device="cuda",
        out=tmp_path_factory.mktemp("runs") / "gpu",
    )  # fmt: skip
    assert isinstance(end, Finished)
    return end.run


def test_a_run_says_where_it_was_trained(finished: Run) -> None:
    environment = json.loads((finished.path / "environment.json").read_text("utf-8"))
    assert environment["device"] == "cuda"
    assert environment["accelerator"] == torch.cuda.get_device_name()
    assert environment["precision"] == fastest_precision(torch.device("cuda"))
    assert environment["tf32"] is environment["cudnn_benchmark"] is True
    assert finished.report.accuracy > 0.8


def test_a_run_of_the_gpu_goes_on_on_the_cpu_and_says_so(tmp_path: Path) -> None:
    settings = ["epochs=2", "batch_size=256", "precision=fp32"]
    job = start("resnet20_cifar", "digits", settings=settings, device="cuda", out=tmp_path / "run", checkpoint_every=1)
    for event in job:
        if isinstance(event, StepDone) and event.step == 3:
            break
    again = reopen(job.run, device="cpu")
    assert "device was cuda and is cpu: the last bits of the results may differ." in again.notes
    again.measure = False
    assert [event.epoch for event in again if isinstance(event, EpochDone)][-1] == 2


def test_too_large_a_batch_says_what_to_lower(tmp_path: Path) -> None:
    torch.cuda.empty_cache()
    _, total = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction(min(1.0, 0.25 * 2**30 / total))
    try:
        job = start(
            "resnet50", "digits", settings=["epochs=1", "batch_size=512", "image_size=96"], device="cuda",
            out=tmp_path / "run",
        )  # fmt: skip
        with pytest.raises(OutOfMemory, match=r"The GPU is out of memory .*batch_size \(it is 512\)"):
            list(job)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
