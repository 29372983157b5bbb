"""What earlier versions wrote goes on loading: `golden/VERSION/` holds a finished run and a stopped one of each.

They were trained on `digits` with a tiny network; nothing in `golden/` is ever changed.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from classicnets.classifier import Classifier
from classicnets.data import load_data
from classicnets.evaluation import Report, evaluate
from classicnets.runs.compare import summarize
from classicnets.training import EpochDone, Finished, Run, reopen
from classicnets.training.run.checkpoint import newest_checkpoint

GOLDEN = Path(__file__).with_name("golden")
VERSIONS = sorted(folder.name for folder in GOLDEN.iterdir())


@pytest.fixture(params=VERSIONS)
def golden(request, tmp_path) -> Path:
    """A copy of what that version wrote."""
    return shutil.copytree(GOLDEN / request.param, tmp_path / "golden")


def test_a_classifier_answers_as_it_did(golden):
    report = Report.load(golden / "finished" / "evaluation")
    assert report.num_images == 359
    assert len(report.answers) == 359
    assert report.top1 == sum(answer.correct for answer in report.answers) / 359
    test = load_data("digits", val_fraction=0.2, test_fraction=0.2).test
    measured = evaluate(Classifier.load(golden / "finished"), test)
    assert measured.confusion == report.confusion
    assert measured.loss == pytest.approx(report.loss, abs=1e-4)
    for now, before in zip(measured.answers, report.answers, strict=True):
        assert (now.path, now.truth, now.label) == (before.path, before.truth, before.label)
        assert now.score == pytest.approx(before.score, abs=1e-3)


def test_a_finished_run_is_known_as_one(golden):
    run = Run.open(golden / "finished")
    assert run.finished
    assert run.report.top1 == pytest.approx(summarize(run.path).test_accuracy)
    assert [row["epoch"] for row in run.metrics("epoch")] == [1, 2]
    (finished,) = reopen(run)
    assert isinstance(finished, Finished)


@pytest.mark.usefixtures("plain_reports")
def test_a_stopped_run_goes_on(golden):
    run = Run.open(golden / "stopped")
    assert not run.finished
    assert summarize(run.path).state == "stopped"
    before = run.metrics("val_accuracy", "train_loss")
    checkpoint, notes = newest_checkpoint(run.path / "checkpoints")
    assert notes == []
    job = reopen(run)
    assert not any("changes" in note for note in job.notes)
    assert all(torch.equal(value, job._state.tensors()[name]) for name, value in checkpoint.tensors.items())
    *events, finished = job
    assert isinstance(finished, Finished)
    assert [event.epoch for event in events if isinstance(event, EpochDone)] == [3]
    assert run.metrics("val_accuracy", "train_loss")[:2] == before
    assert run.finished
