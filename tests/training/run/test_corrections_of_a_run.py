"""A training with corrections: what it learns from, what is kept of them, and going on."""

from __future__ import annotations

from pathlib import Path

import pytest

from classicnets.data import load_data
from classicnets.data.corrections import Correction, read_corrections, write_corrections
from classicnets.data.record import read_record
from classicnets.errors import DataError
from classicnets.evaluation.choose import own_images
from classicnets.training import Run, reopen, start
from small import FAST

pytestmark = pytest.mark.usefixtures("plain_reports")

NARROW = (*FAST, "epochs=2", "model.switches.widths=[4,8,8]")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Corrections of a training image, a validation image, and a test image."""
    data = load_data("digits", val_fraction=0.3, test_fraction=0.3)
    assert data.test is not None
    corrections = {
        data.train.ids[0]: Correction("relabel", "7"),
        data.train.ids[1]: Correction("drop"),
        data.val.ids[0]: Correction("drop"),
        data.test.ids[0]: Correction("drop"),
    }
    write_corrections(tmp_path / "corrections.csv", corrections)
    return tmp_path / "corrections.csv"


def begin(file: Path, out: Path) -> Run:
    """A run that stopped after its first epoch."""
    job = start("resnet20_cifar", "digits", settings=[*NARROW, f"data.corrections={file}"], out=out)
    events = iter(job)
    while len(job.run.metrics("epoch")) < 1:
        next(events)
    events.close()
    return job.run


def test_a_run_keeps_its_corrections_and_goes_on_with_them(file: Path, tmp_path: Path) -> None:
    run = begin(file, tmp_path / "run")
    plain = load_data("digits", val_fraction=0.3, test_fraction=0.3)
    sizes = {part: len(images) for part, images in plain.parts.items()}
    labels = {row.id: row.label for row in read_record(run.record)}
    parts = [row.part for row in read_record(run.record)]
    assert labels[plain.train.ids[0]] == "7"
    assert (parts.count("train"), parts.count("val")) == (sizes["train"] - 1, sizes["val"] - 1)
    assert parts.count("test") == sizes["test"], "the test images stay"
    assert read_corrections(run.corrections) == read_corrections(file)
    (begun,) = [event for event in run.events if event["event"] == "started"]
    assert "corrections.csv: 0 kept, 1 relabelled, 2 dropped" in begun["notes"]
    assert any("not applied: 1 correction of test images" in note for note in begun["notes"])

    write_corrections(file, {**read_corrections(file), plain.train.ids[2]: Correction("drop")})
    with pytest.raises(DataError, match=r"the corrections \(data.corrections\) are not what they were.*--allow-change"):
        reopen(run)
    moved = reopen(run, settings=[f"data.corrections={run.corrections}"])
    for _ in moved:
        pass
    assert run.finished
    images = own_images(run.classifier, "train", run=run.path)
    assert images.notes == ()
    assert len(images.images) == sizes["train"] - 1
    assert images.images.labels[0] == 7
    file.unlink()
    assert len(own_images(run.classifier, "val", run=run.path).images) == sizes["val"] - 1


def test_a_file_that_is_gone(file: Path, tmp_path: Path) -> None:
    run = begin(file, tmp_path / "run")
    file.unlink()
    with pytest.raises(DataError, match="No such file"):
        reopen(run)
    assert reopen(run, settings=[f"data.corrections={run.corrections}"]).run.path == run.path


def test_a_wrong_file_leaves_no_run(file: Path, tmp_path: Path) -> None:
    file.write_text("path,action,label\ndigits/0000,relabel,eleven\n")
    with pytest.raises(DataError, match="there is no class 'eleven'"):
        start("resnet20_cifar", "digits", settings=[*NARROW, f"data.corrections={file}"], out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
