"""`torch.compile` for the training step: when it is on, what it changes, and what happens if it cannot compile."""

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from classicnets.models.catalog import create
from classicnets.training import EpochDone, StepDone, start
from classicnets.training.recipe.files import with_settings
from classicnets.training.recipe.schema import Recipe
from classicnets.training.run.checkpoint import newest_checkpoint
from classicnets.training.step.compiled import choose, is_compile_error
from classicnets.training.step.objective import ObjectiveModule
from small import FAST
from trainings import SmallTraining

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
IMAGENET = 1_281_167


def chosen(device, *settings, num_images=IMAGENET, processes=1):
    recipe = with_settings(Recipe(), ["image_size=224", *settings])
    network = create("resnet50", device="meta")
    return choose(recipe, network, device, num_images=num_images, processes=processes)


@pytest.mark.parametrize(
    ("device", "settings", "others", "compiles", "says"),
    [
        (CPU, ["epochs=90"], {}, False, ""),
        (CUDA, ["epochs=90"], {}, True, "is compiled: the run's 1.4e+18 multiply-adds repay it"),
        (CUDA, ["epochs=2"], {}, True, "repay it"),
        (CUDA, ["epochs=1"], {}, False, "do not repay it (from 3e+16)"),
        (CUDA, ["epochs=90"], {"num_images": 1000}, False, "do not repay it"),
        (CUDA, ["epochs=90", "compile=false"], {}, False, ""),
        (CPU, ["epochs=1", "compile=true"], {}, True, "compile = true"),
        (CPU, ["compile=true", "accumulate=2"], {}, False, "it needs one process, accumulate = 1"),
        (CUDA, ["epochs=90"], {"processes": 2}, False, "it needs one process"),
    ],
)
def test_auto_is_on_for_long_runs_on_one_gpu(device, settings, others, compiles, says):
    found = chosen(device, *settings, **others)
    assert found.compiles == compiles
    assert says in " ".join(found.notes)
    assert bool(found.notes) == bool(says)


@pytest.mark.parametrize("setting", ["compile=yes", "compile=1", "compile=2"])
def test_compile_takes_auto_true_and_false(setting):
    with pytest.raises(Exception, match="compile"):
        with_settings(Recipe(), [setting])
    assert with_settings(Recipe(), ["compile=true"]).compile is True


@pytest.fixture
def traced(monkeypatch):
    """Compile without making machine code, which takes long; nothing may be left out of the graph."""
    torch._dynamo.reset()
    counters.clear()
    monkeypatch.setattr(
        ObjectiveModule, "compile", lambda self: nn.Module.compile(self, backend="aot_eager", fullgraph=True)
    )
    yield
    torch._dynamo.reset()


def losses(events):
    return [event.loss for event in events if isinstance(event, StepDone)]


def test_a_compiled_step_learns_the_same_and_keeps_the_names_of_the_weights(corners, recipe, traced):
    recipe = with_settings(recipe, ["epochs=2", "loss.label_smoothing=0.1"])
    compiled, plain = (SmallTraining(corners, recipe, compiles=compiles) for compiles in (True, False))
    assert losses(compiled.run()) == pytest.approx(losses(plain.run()), rel=1e-3)
    assert list(compiled.state.tensors()) == list(plain.state.tensors())
    assert counters["stats"]["unique_graphs"] == 1


def test_progressive_sizes_compile_twice(corners, recipe, traced):
    recipe = with_settings(recipe, ["epochs=4", "progressive.start=0.3", "progressive.until=0.9"])
    training = SmallTraining(corners, recipe, compiles=True)
    sizes = {event.image_size for event in training.run() if isinstance(event, EpochDone)}
    assert len(sizes) == 3
    assert counters["stats"]["unique_graphs"] == 2


def test_without_a_compiler_the_training_goes_on_and_says_so(tmp_path, monkeypatch, plain_reports):
    from torch._inductor import config
    from torch._inductor.utils import fresh_cache

    torch._dynamo.reset()
    monkeypatch.setattr(config.cpp, "cxx", (None, "no-such-compiler"))
    monkeypatch.setattr(config, "compile_threads", 1)
    settings = [*FAST, "epochs=1", "compile=true", "model.switches.widths=[4,8,8]"]
    with fresh_cache():
        job = start("resnet20_cifar", "digits", settings=settings, out=tmp_path / "run")
        job.measure = False
        *_, epoch = job
    assert epoch.epoch == 1
    assert [warning for warning in job.warnings if "torch.compile failed (" in warning]
    assert "goes on without it. To skip the attempt: compile = false." in job.warnings[0]
    assert job.run.environment["compile"] is True
    checkpoint, _ = newest_checkpoint(job.run.path / "checkpoints")
    assert not any("_orig_mod" in name for name in checkpoint.tensors)
    torch._dynamo.reset()


def test_an_error_of_the_training_is_not_one_of_the_compiler():
    assert not is_compile_error(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert not is_compile_error(torch.OutOfMemoryError("CUDA out of memory"))
    caused = RuntimeError("wrapped")
    caused.__cause__ = torch._dynamo.exc.TorchRuntimeError("x")
    assert is_compile_error(caused)


@pytest.mark.slow
def test_machine_code_learns_the_same(corners, recipe, monkeypatch):
    from torch._inductor import config

    torch._dynamo.reset()
    monkeypatch.setattr(config, "compile_threads", 1)
    recipe = with_settings(recipe, ["epochs=2"])
    compiled, plain = (SmallTraining(corners, recipe, compiles=compiles) for compiles in (True, False))
    assert losses(compiled.run()) == pytest.approx(losses(plain.run()), rel=1e-2)
    torch._dynamo.reset()
