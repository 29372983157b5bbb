"""Whole jobs whose recipes ask for something: a frozen trunk, a teacher, balance, patience."""

import json

import pytest
import torch

from classicnets.errors import ConfigError
from classicnets.runs.compare import summarize
from classicnets.training import EpochDone, reopen, start
from small import FAST
from trainings import weights_after


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """A run to start from and to learn from."""
    job = start("resnet20_cifar", "digits", settings=FAST, out=tmp_path_factory.mktemp("runs") / "before")
    return weights_after(job, epoch=1) and job.run


def job(tmp_path, *settings, out="run", **options):
    return start("resnet20_cifar", "digits", settings=["epochs=2", *FAST, *settings], out=tmp_path / out, **options)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_frozen_trunk_is_run_once_and_only_the_head_learns(tmp_path, before):
    settings = (f'model.weights="{before.path}"', "finetune.freeze=1", "augment.crop=pad", "augment.flip=true")
    progress = []
    whole = job(tmp_path, *settings, progress=lambda *what: progress.append(what))
    assert any("augmentation and progressive sizes are off" in note for note in whole.notes)
    assert any("features of 719 images computed once" in note for note in whole.notes)
    assert ("Computing features", 719, 719) in progress
    assert not whole.recipe.augment.flip
    learned = weights_after(whole, epoch=2)
    old = before.classifier.model.state_dict()
    assert {name.split(".")[0] for name in old if not torch.equal(old[name], learned[f"model.{name}"])} == {"head"}
    weights_after(again := job(tmp_path, *settings, out="again"), epoch=1)
    assert same(learned, weights_after(reopen(again.run), epoch=2))


def test_a_trunk_that_learned_nothing_is_not_frozen(tmp_path):
    with pytest.raises(ConfigError, match="--weights"):
        job(tmp_path, "finetune.freeze=0.5")


def test_a_teacher_is_learned_from_and_needed_to_go_on(tmp_path, before):
    settings = (f'distill.teacher="{before.path}"', "distill.weight=0.9")
    taught = job(tmp_path, *settings)
    assert any("distilling from" in note for note in taught.notes)
    learned = weights_after(taught, epoch=2)
    assert not same(learned, weights_after(job(tmp_path), epoch=2))
    weights_after(again := job(tmp_path, *settings), epoch=1)
    assert same(learned, weights_after(reopen(again.run), epoch=2))


def test_a_teacher_cannot_teach_a_head_alone(tmp_path, before):
    with pytest.raises(ConfigError, match=r"distill\.teacher"):
        job(tmp_path, f'model.weights="{before.path}"', f'distill.teacher="{before.path}"', "finetune.freeze=1")


def test_classes_can_be_balanced_by_the_loss(tmp_path):
    weighted = job(tmp_path, "data.balance=loss")._session.class_weights
    assert weighted.shape == (10,)
    assert job(tmp_path)._session.class_weights is None


@pytest.mark.usefixtures("plain_reports")
def test_a_run_out_of_patience_ends_early_and_says_so(tmp_path):
    early = job(tmp_path, "epochs=50", "patience=1", "best=loss", "optim.lr=30", "optim.clip_norm=1")
    *events, finished = early
    rows = [event for event in events if isinstance(event, EpochDone)]
    best = finished.run.classifier.provenance["training"]["best_epoch"]
    assert len(rows) == best + 1 < 50
    assert any(f"Stopped after epoch {len(rows)} of 50" in warning for warning in early.warnings)
    log = [json.loads(line) for line in (finished.run.path / "events.jsonl").read_text().splitlines()]
    assert [line["best_epoch"] for line in log if line["event"] == "stopped_early"] == [best]
    assert summarize(finished.run.path).state == "finished"


def test_patience_needs_a_measure_that_tells_which_epoch_is_better(tmp_path):
    with pytest.raises(
        ConfigError, match="patience is 3, which ends a run when no epoch is better, and best is 'last'"
    ):
        job(tmp_path, "patience=3", "best=last")


def test_a_run_that_keeps_its_last_epoch_does_so_though_an_earlier_one_was_better(tmp_path):
    whole = job(tmp_path, "epochs=3", "best=last", "optim.lr=30", "optim.clip_norm=1")
    whole.measure = False
    rows = [event for event in whole if isinstance(event, EpochDone)]
    assert whole._state.best_epoch == rows[-1]
    assert whole.run.classifier.provenance["training"]["best_epoch"] == 3
    kept, reached = whole.run.classifier.model.state_dict(), whole._state.model.state_dict()
    assert all(torch.equal(kept[name], tensor) for name, tensor in reached.items())


def test_a_run_out_of_patience_that_is_not_measured_is_over_too(tmp_path):
    early = job(tmp_path, "epochs=50", "patience=1", "optim.lr=1e-9")
    early.measure = False
    rows = [event for event in early if isinstance(event, EpochDone)]
    assert len(rows) < 50
    assert summarize(early.run.path).state == "unmeasured"


def test_what_a_frozen_trunk_rules_out_is_left_out_of_a_changed_run_too(tmp_path, before):
    weights_after(first := job(tmp_path, f'model.weights="{before.path}"', "finetune.freeze=1"), epoch=1)
    again = reopen(first.run, settings=["augment.mixup=0.5", "epochs=3"], allow_change=True)
    assert not again.recipe.augment.mixes
    assert any("augmentation and progressive sizes are off" in note for note in again.notes)
    with pytest.raises(ConfigError, match=r"distill\.teacher"):
        reopen(first.run, settings=[f'distill.teacher="{before.path}"'], allow_change=True)
