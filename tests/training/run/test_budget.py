"""`minutes`: epochs and image size are fitted to a budget, and the run is otherwise the one without it."""

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from classicnets.errors import ConfigError
from classicnets.system import stopwatch
from classicnets.training import EpochDone, entry, reopen, start
from classicnets.training.recipe.files import parse_recipe, with_settings
from classicnets.training.recipe.schema import Recipe
from classicnets.training.run import budget
from classicnets.training.run.budget import Timing, measure
from classicnets.training.run.folder import Run
from small import FAST

TIMING = Timing(full=1.0, small=0.5, frozen=0.5, statistics=0.0, validation=2.0, saving=1.0, end=10.0)


def takes(monkeypatch, *timings):
    """The timings that are measured, one after another; the last is measured again and again."""
    left = list(timings)
    monkeypatch.setattr(budget, "measure", lambda *_, **__: left.pop(0) if len(left) > 1 else left[0])


def weights(job):
    return {name: tensor.clone() for name, tensor in job._state.tensors().items()}


def until(job, epoch):
    events = iter(job)
    while not (isinstance(event := next(events), EpochDone) and event.epoch == epoch):
        pass
    events.close()
    return weights(job)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_epochs_are_the_most_that_end_within_the_time():
    recipe = with_settings(Recipe(), ["image_size=64"])
    assert TIMING.training(recipe, 3, 20, 8) == pytest.approx(3 * 23)
    assert TIMING.epochs_within(10 + 3 * 23 + 0.1, recipe, 20, 8) == 3
    assert TIMING.epochs_within(10 + 3 * 23 - 0.1, recipe, 20, 8) == 2
    assert TIMING.epochs_within(32, recipe, 20, 8) == 0
    assert TIMING.epochs_within(-5, recipe, 20, 8) == 0


def test_smaller_images_and_a_frozen_trunk_take_their_share():
    growing = with_settings(Recipe(), ["image_size=64", "progressive.start=0.5", "progressive.until=0.99"])
    assert 15 < TIMING.training(growing, 1_000, 20, 8) / 1_000 - 3 < 17  # the mean area is a little above half way
    frozen = with_settings(Recipe(), ["image_size=64", "finetune.freeze=0.5"])
    assert TIMING.training(frozen, 10, 20, 8) == pytest.approx(10 * (20 * 0.75 + 3))


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["ema=0.9", "image_size=16", "progressive.start=0.5", "progressive.until=0.9"],
        ["optim.name=muon", "optim.lr=0.02", "augment.mixup=0.2", "workers=1"],
    ],
    ids=["plain", "average", "muon"],
)
def test_timing_leaves_no_trace(tmp_path, more):
    settings = ["epochs=2", *FAST, *more]
    plain = until(start("resnet20_cifar", "digits", settings=settings, out=tmp_path / "plain"), epoch=2)
    timed = start("resnet20_cifar", "digits", settings=settings, out=tmp_path / "timed")
    before = weights(timed)
    random = torch.get_rng_state()
    timing = measure(timed._prepared, most_seconds=0.1)
    assert torch.equal(torch.get_rng_state(), random)
    assert min(timing.full, timing.small, timing.validation, timing.saving) > 0
    assert same(weights(timed), before)
    assert same(until(timed, epoch=2), plain)


def test_a_run_with_minutes_is_the_run_with_its_epochs(tmp_path, monkeypatch):
    takes(monkeypatch, Timing(full=1.0, small=1.0, frozen=1.0, statistics=0, validation=0.5, saving=0, end=0))
    settings = [*FAST, "ema=0.9"]  # 719 images are 2 steps an epoch
    fitted = start("resnet20_cifar", "digits", settings=settings, minutes=0.15, out=tmp_path / "fitted")
    epochs = fitted.recipe.epochs
    assert 1 <= epochs <= 3
    plain = start("resnet20_cifar", "digits", settings=[*settings, f"epochs={epochs}"], out=tmp_path / "plain")
    assert fitted.recipe.model_copy(update={"minutes": None}) == plain.recipe
    assert f"{epochs} epochs in about 0." in fitted.notes[-1]
    assert "of 0.15 minutes: 2.5 s an epoch" in fitted.notes[-1]
    assert parse_recipe(fitted.recipe.to_toml(), "x") == fitted.recipe == fitted.run.recipe
    assert fitted.run.recipe.minutes == 0.15
    learned = until(fitted, epoch=1)
    assert same(learned, until(plain, epoch=1))
    monkeypatch.setattr(budget, "measure", lambda *_, **__: pytest.fail("a run is fitted once"))
    assert reopen(fitted.run).recipe == fitted.recipe
    with pytest.raises(ConfigError, match="minutes count only when a run starts"):
        reopen(fitted.run, settings=["minutes=9"])


def test_images_are_made_smaller_only_if_the_recipe_was_chosen_and_its_epochs_do_not_fit(
    photo_folder, tmp_path, monkeypatch
):
    """A step of 128 pixels takes 4 s, of fewer in proportion to their number; an epoch is a step."""
    timed = []

    def measured(prepared, **_):
        timed.append(prepared.session.recipe.image_size)
        seconds = 4 * (timed[-1] / 128) ** 2
        return Timing(full=seconds, small=seconds, frozen=1.0, statistics=0, validation=0, saving=0, end=0)

    monkeypatch.setattr(budget, "measure", measured)
    for module in (budget, entry):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: 0.0))  # preparing takes no time
    monkeypatch.setattr("classicnets.training.recipe.plan.natural_size", lambda *_, **__: 128)
    for minutes, sizes, epochs in (
        (1.3, [48, 96], 32),  # 30 epochs of 128 pixels take 2 minutes
        (0.2, [48], 20),  # smaller ones show too little
        (3.9, [48, 128], 55),
    ):
        timed.clear()
        job = start("resnet20_cifar", photo_folder, minutes=minutes, out=tmp_path / f"{minutes}")
        assert timed == sizes  # the smallest first, because a short budget leaves no time to time large ones
        assert job.recipe.image_size == job._session.preprocess.input_size[0] == sizes[-1]
        assert job.recipe.epochs == epochs
        assert any(f"image_size is {sizes[-1]} instead of 128" in note for note in job.notes) == (sizes[-1] < 128)
    for name, more in (("size", {"settings": ["image_size=128"]}), ("recipe", {"recipe": "photos"})):
        timed.clear()
        job = start("resnet20_cifar", photo_folder, minutes=1.3, out=tmp_path / name, **more)
        assert timed == [128]
        assert job.recipe.image_size == 128
        assert job.recipe.epochs == 18


def test_many_photos_are_read_for_one_size_if_that_is_enough(photo_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "_FEW_PHOTOS", 10)
    takes(monkeypatch, Timing(full=0.1, small=0.1, frozen=1, statistics=0, validation=0, saving=0, end=0))
    monkeypatch.setattr("classicnets.training.recipe.plan.natural_size", lambda *_, **__: 96)
    sizes = []
    prepare = entry.prepare

    def counted(recipe, *arguments, **more):
        sizes.append(recipe.image_size)
        return prepare(recipe, *arguments, **more)

    monkeypatch.setattr(entry, "prepare", counted)
    start("resnet20_cifar", photo_folder, minutes=1, out=tmp_path / "run")
    assert set(sizes) == {96}


def test_the_average_follows_the_number_of_steps_that_fit(photo_folder, tmp_path, monkeypatch):
    takes(monkeypatch, Timing(full=0.01, small=0.01, frozen=1, statistics=0, validation=0, saving=0, end=0))
    job = start("resnet20_cifar", photo_folder, settings=["image_size=16"], minutes=2, out=tmp_path / "run")
    assert job.num_steps > 1_000
    assert job.recipe.ema > 0
    assert any(name.startswith("average.") for name in weights(job))


def test_a_run_that_gets_few_steps_is_timed_again_with_its_own_optimizer(photo_folder, tmp_path, monkeypatch):
    """Of the recipe's 30 epochs, 30 steps, SGD would take all; only 14 fit, which are AdamW's, and of those 28."""
    monkeypatch.setattr("classicnets.training.recipe.choose._STEPS_FOR_SGD", 30)
    slow = Timing(full=2.0, small=2.0, frozen=1.0, statistics=0, validation=0, saving=0, end=0)
    takes(monkeypatch, slow, replace(slow, full=1.0, small=1.0))
    settings = ["image_size=48", "batch_size=16"]
    job = start("resnet20_cifar", photo_folder, settings=settings, minutes=0.5, out=tmp_path / "fitted")
    assert job.recipe.optim.name == "adamw"
    assert isinstance(job._state.optimizer, torch.optim.AdamW)
    assert 20 < job.num_steps < 30
    settings.append(f"epochs={job.recipe.epochs}")
    plain = start("resnet20_cifar", photo_folder, settings=settings, out=tmp_path / "plain")
    assert same(until(job, epoch=1), until(plain, epoch=1))


def test_minutes_that_are_too_few_are_refused_with_the_fewest_that_do(tmp_path, monkeypatch):
    takes(monkeypatch, Timing(full=10.0, small=10.0, frozen=1.0, statistics=0, validation=1, saving=0, end=5.0))
    with pytest.raises(ConfigError, match=r"--minutes 0\.1 is too short for one epoch: it takes about 21 s here") as e:
        start("resnet20_cifar", "digits", settings=FAST, minutes=0.1, out=tmp_path / "run")
    assert "Give at least --minutes 0." in str(e.value)
    assert "lower image_size" not in str(e.value)  # 8 pixels are the network's least
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), float("inf")])
def test_minutes_that_are_no_positive_number_are_refused(tmp_path, minutes):
    with pytest.raises(ConfigError, match="must be a number above 0"):
        start("resnet20_cifar", "digits", minutes=minutes, out=tmp_path / "run")


def test_epochs_and_minutes_do_not_go_together_and_minutes_are_no_setting(tmp_path):
    with pytest.raises(ConfigError, match="leave out --epochs"):
        start("resnet20_cifar", "digits", settings=["epochs=3"], minutes=1, out=tmp_path / "run")
    with pytest.raises(ConfigError, match="give --minutes"):
        start("resnet20_cifar", "digits", settings=["minutes=3"], out=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_restarted_launch_finds_its_run_although_it_was_fitted(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "mine")
    asked = with_settings(Recipe(), ["minutes=5", "image_size=96"])
    run = Run.create(tmp_path / "run", with_settings(asked, ["epochs=7", "image_size=64"]), "fp32")
    assert Run.of_launch(tmp_path / "run", asked) == run
    assert Run.of_launch(tmp_path / "run", with_settings(asked, ["minutes=6"])) is None
    assert Run.of_launch(tmp_path / "run", with_settings(asked, ["minutes=none"])) is None


@pytest.mark.slow
def test_a_training_ends_within_its_minutes(tmp_path):
    begun = time.monotonic()
    *_, finished = start("resnet20_cifar", "digits", minutes=0.7, out=tmp_path / "run")
    assert finished.run.finished
    assert 0.3 < (time.monotonic() - begun) / 42 < 2  # wide: other processes may come and go


def test_the_minutes_begin_when_the_program_did(tmp_path, monkeypatch):
    """An epoch takes 2.5 s: of 12 s, 95 % hold four epochs; five seconds before the training leave two."""
    takes(monkeypatch, Timing(full=1.0, small=1.0, frozen=1.0, statistics=0, validation=0.5, saving=0, end=0))
    for module in (budget, entry):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: 100.0))
    for name, begun, epochs in (("now", None, 4), ("earlier", 95.0, 2)):
        job = start("resnet20_cifar", "digits", settings=FAST, minutes=0.2, begun=begun, out=tmp_path / name)
        assert job.recipe.epochs == epochs


def test_what_comes_after_the_epochs_is_counted(tmp_path, monkeypatch):
    """Passes over validation, test and training images, the classifier's file twice, and the report."""
    job = start("resnet20_cifar", "digits", settings=["epochs=2", *FAST], out=tmp_path / "run")
    monkeypatch.setattr(budget, "_saving_seconds", lambda prepared: budget._Saving(7.0, 30.0))
    monkeypatch.setattr(budget, "_pass_seconds", lambda *_: budget._Passes(validation=5.0, end=400.0))
    monkeypatch.setattr("classicnets.reports.duration.report_seconds", lambda images: float(len(images)))
    timing = measure(job._prepared, most_seconds=0.1)
    assert timing.validation == 5
    assert timing.saving == 37
    assert timing.end == 400 + 2 * 30 + len(job._prepared.data.test)


def test_of_a_large_checkpoint_a_part_is_saved_to_time_it(tmp_path, monkeypatch):
    job = start(
        "resnet20_cifar", "digits", settings=["epochs=2", "optim.name=sgd", "optim.lr=0.1", *FAST], out=tmp_path / "run"
    )
    optimizer = [values["momentum_buffer"] for values in job._state.optimizer.state.values()]
    whole = sum(tensor.nbytes for tensor in [*job._state.tensors().values(), *optimizer])
    clock, saved = [0.0], []

    def save(folder, step, checkpoint):
        saved.append(sum(tensor.nbytes for tensor in checkpoint.tensors.values()))
        clock[0] += saved[-1]  # a second a byte

    monkeypatch.setattr(budget, "save_checkpoint", save)
    monkeypatch.setattr(stopwatch, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    for most in (whole, whole // 3):
        monkeypatch.setattr(budget, "_SAVED", most)
        assert budget._saving_seconds(job._prepared).checkpoint == pytest.approx(whole)
    assert saved[0] == whole
    assert saved[1] <= whole // 3


@pytest.mark.parametrize(("most_seconds", "timed"), [(1e9, 64), (1e-9, 16)])
def test_more_images_are_timed_where_passes_are_fast(tmp_path, monkeypatch, most_seconds, timed):
    job = start("resnet20_cifar", "digits", settings=["epochs=2", *FAST], out=tmp_path / "run")
    seen = []
    first = budget._first
    monkeypatch.setattr(budget, "_first", lambda packed, n: seen.append(n) or first(packed, n))
    passes = budget._pass_seconds(job._prepared, most_seconds, 0.001)
    assert seen == [timed]
    assert 0 < passes.validation < passes.end
