"""A study is measured once, goes on where it was stopped, and says what its numbers say."""

from __future__ import annotations

import html
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from classicnets.data import Data, load_data
from classicnets.errors import ConfigError, Locked, StorageError, TrainingDiverged, UnknownName
from classicnets.studies import cells as cells_module
from classicnets.studies import run as run_module
from classicnets.studies.cells import CellPlan, few
from classicnets.studies.claim import Claim
from classicnets.studies.outcome import Outcome
from classicnets.studies.report import write_page
from classicnets.studies.run import run_all, run_study
from classicnets.studies.verdict import Verdict
from classicnets.system.locks import lock
from classicnets.training import Run
from toy_claim import toy

STUDY = "toy-quick-corners"


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, toy())


def use(monkeypatch: pytest.MonkeyPatch, claim: Claim) -> None:
    monkeypatch.setattr(run_module, "find_claim", lambda name: claim)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, corners: Data) -> Outcome:
    """The outcome of a study that nothing interrupted."""
    with pytest.MonkeyPatch.context() as patch:
        use(patch, toy())
        return run_study("toy", data=corners, seeds=2, out=tmp_path_factory.mktemp("whole"))


@pytest.fixture
def again(whole: Outcome, tmp_path: Path) -> Path:
    """A copy of the folder of that study, to change."""
    shutil.copytree(whole.folder.parent, tmp_path / "s")
    return tmp_path / "s" / STUDY


def numbers(folder: Path) -> dict[str, Any]:
    """What the cells of a folder measured, without times."""
    found = {}
    for path in sorted((folder / "cells").glob("*.json")):
        cell = json.loads(path.read_text())["cell"]
        cell.pop("seconds")
        for row in cell["epochs"]:
            row.pop("seconds")
        found[path.name] = cell
    return found


def test_a_study_from_its_cells_to_its_verdict(whole):
    assert whole.folder.name == STUDY
    assert whole.images == (60, 20, 24)
    assert len(numbers(whole.folder)) == 4
    assert not any((whole.folder / "trainings").iterdir())  # the networks are not kept
    for seed, cells in enumerate(whole.measured):
        expected = cells["ResNet"]["test_accuracy"] - cells["plain"]["test_accuracy"]
        assert whole.findings[0].values[seed] == pytest.approx(expected)
        assert [row["epoch"] for row in cells["plain"]["epochs"]] == [1, 2]
    assert whole.measured[0]["plain"] != whole.measured[1]["plain"]
    written = json.loads((whole.folder / "outcome.json").read_text())
    assert written == json.loads(json.dumps(whole.to_dict()))
    assert (written["verdict"], written["name"]) == (whole.verdict.value, "toy")
    assert (whole.folder / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert "hypothesis  accuracy > 0 points" in whole.to_text()


def test_nothing_is_measured_twice(whole, again, corners, monkeypatch):
    monkeypatch.setattr(cells_module, "start", None)
    said: list[str] = []
    outcome = run_study("toy", data=corners, seeds=2, out=again.parent, say=said.append)
    assert outcome.measured == whole.measured
    assert [text.endswith("measured before") for text in said] == [True] * 4


def test_a_study_that_was_stopped_ends_like_one_that_was_not(tmp_path, corners, whole):
    def stop(what: str, done: int, total: int) -> None:
        if what == "ResNet, seed 0" and done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study("toy", data=corners, seeds=2, out=tmp_path, progress=stop)
    folder = tmp_path / STUDY
    assert len(numbers(folder)) == 1
    (training,) = (folder / "trainings").iterdir()
    assert len(Run(training).metrics("epoch")) == 1  # it goes on in its second epoch
    run_study("toy", data=corners, seeds=2, out=tmp_path)
    assert numbers(folder) == numbers(whole.folder)


_KILLED = """
import os, pickle, signal, sys
from classicnets.studies import run
from toy_claim import toy

def kill(what, done, total):
    if what == "ResNet, seed 0" and done == 4:
        os.kill(os.getpid(), signal.SIGKILL)

run.find_claim = lambda name: toy()
run.run_study("toy", data=pickle.load(sys.stdin.buffer), seeds=2, out=sys.argv[1], progress=kill)
"""


@pytest.mark.slow
def test_a_study_that_was_killed_loses_no_cell(tmp_path, corners, whole):
    tests = str(Path(__file__).parents[1])
    path = os.pathsep.join([tests, *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": path}, input=pickle.dumps(corners), check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL
    assert len(numbers(tmp_path / STUDY)) == 1
    said: list[str] = []
    run_study("toy", data=corners, seeds=2, out=tmp_path, say=said.append)
    assert [text.endswith("measured before") for text in said] == [True, False, False, False]
    assert numbers(tmp_path / STUDY) == numbers(whole.folder)


def test_a_full_disk_keeps_what_was_measured(again, corners, whole, monkeypatch):
    next((again / "cells").glob("ResNet-seed1*.json")).unlink()

    def full(path: Path) -> Any:
        raise StorageError("Cannot write: No space left on device. Free some space.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells_module, "written_aside", full)
        with pytest.raises(StorageError, match="No space left"):
            run_study("toy", data=corners, seeds=2, out=again.parent)
    assert len(numbers(again)) == 3
    run_study("toy", data=corners, seeds=2, out=again.parent)
    assert numbers(again) == numbers(whole.folder)


def test_a_disk_that_is_full_in_a_training_names_the_right_command(tmp_path, corners, monkeypatch):
    def full(*args: object, **kwargs: object) -> Any:
        raise StorageError("Cannot write x: full. Then resume with: classicnets train --resume x")

    monkeypatch.setattr(cells_module, "start", full)
    with pytest.raises(StorageError, match=r"full\. The cells measured so far are kept: run the same command again\."):
        run_study("toy", data=corners, seeds=2, out=tmp_path)


def test_a_damaged_cell_is_measured_again(again, corners, whole):
    next((again / "cells").glob("plain-seed0*.json")).write_text('{"key": {}, "ce')
    run_study("toy", data=corners, seeds=2, out=again.parent)
    assert numbers(again) == numbers(whole.folder)


def test_a_cell_is_known_by_all_that_determines_it(corners, tmp_path):
    claim = toy()
    preset, arm = claim.quick, claim.quick.arms[0]

    def name(claim: Claim = claim, seed: int = 0, data: str = "x", **changes: Any) -> str:
        changed = {"preset": preset, "arm": arm} | changes
        return CellPlan.of(claim, changed["preset"], changed["arm"], seed, few(corners, 60), tmp_path, data).name

    others = [
        name(seed=1),
        name(data="y"),
        name(toy(version=2)),
        name(preset=replace(preset, settings=[*preset.settings, "optim.momentum=0.8"])),
        name(arm=replace(arm, settings=["optim.momentum=0.8"])),
        name(arm=replace(arm, switches={**arm.switches, "activation": "tanh"})),
        name(arm=replace(arm, model="resnet20_cifar")),
    ]
    assert name() == name(toy())
    assert len({name(), *others}) == 1 + len(others) - 1  # the same change of the recipe is the same cell


def test_few_images_are_always_the_same(corners):
    some = few(corners, 30)
    assert [len(part) for part in some.parts.values()] == [30, 20, 24]
    assert some.fingerprint() == few(corners, 30).fingerprint() != few(corners, 31).fingerprint()
    assert few(corners, None) is few(corners, 80) is corners


def test_few_of_the_images_of_a_folder(photo_folder):
    some = few(load_data(photo_folder), 10)
    assert len(some.train) == len(some.train.paths) == 10
    assert len(some.classes) == 3


def test_a_training_that_diverges_is_a_result(again, corners, monkeypatch):
    for cell in (again / "cells").glob("plain*"):
        cell.unlink()

    def diverging(*args: Any, **kwargs: Any) -> Any:
        raise TrainingDiverged("The loss is nan at step 7. Or return to a checkpoint and continue at a lower rate.")

    monkeypatch.setattr(cells_module, "start", diverging)
    outcome = run_study("toy", data=corners, seeds=2, out=again.parent)
    assert outcome.verdict is Verdict.NOT_SHOWN
    assert outcome.notes[0] == "plain, seed 0, diverged: The loss is nan at step 7."
    assert "plain, seed 0, diverged" in outcome.to_text()


def test_a_probe_sees_the_network_before_and_after(tmp_path, corners, monkeypatch):
    def probe(trained: Any) -> dict[str, Any]:
        first, last = (net.trunk.conv1.conv.weight.detach() for net in (trained.start, trained.classifier.model))
        return {"moved": float((first - last).norm()), "images": len(trained.data.train)}

    quick = toy().quick
    one = replace(quick, arms=quick.arms[:1])
    use(monkeypatch, toy(quick=one, probe=probe, hypotheses=[]))
    monkeypatch.setattr(run_module, "_write", lambda outcome: None)
    outcome = run_study("toy", data=corners, seeds=2, out=tmp_path)
    assert outcome.measured[0]["plain"]["moved"] > 0
    assert outcome.measured[0]["plain"]["images"] == 60


def test_a_preset_can_be_changed(again, corners, whole):
    """Its outcome lies beside the preset's own, and says what was changed."""
    outcome = run_study("toy", data=corners, images=40, settings=["epochs=1"], seeds=2, out=again.parent)
    assert outcome.folder.name == f"{STUDY}-images=40-epochs=1"
    assert outcome.images == (40, 20, 24)
    assert [row["epoch"] for row in outcome.measured[0]["plain"]["epochs"]] == [1]
    assert outcome.to_dict()["changes"] == ["images=40", "epochs=1"]
    assert outcome.setting.startswith("quick images=40 epochs=1: corners, 40 for training")
    with pytest.raises(UnknownName, match=r"optim\.lr"):
        run_study("toy", data=corners, settings=["optim.lrate=1"], out=again.parent)


def test_places_that_are_refused(tmp_path, corners):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("mine")
    for out in (mine, mine / "thesis.txt"):
        with pytest.raises(ConfigError, match="exists and is not a folder of studies"):
            run_study("toy", data=corners, seeds=2, out=out)
    with pytest.raises(ConfigError, match="at least 2 seeds"):
        run_study("toy", data=corners, seeds=1, out=tmp_path / "s")
    assert not (tmp_path / "s").exists()
    (tmp_path / "s" / STUDY).mkdir(parents=True)
    (tmp_path / "s" / "studies.json").write_text("{}")
    with lock(tmp_path / "s" / STUDY / ".lock"), pytest.raises(Locked, match="Another process runs this study"):
        run_study("toy", data=corners, seeds=2, out=tmp_path / "s")


def test_all_studies_on_one_page(tmp_path, whole, monkeypatch):
    monkeypatch.undo()
    said: list[str] = []
    outcomes, page = run_all(names=("inception-cost",), out=tmp_path / "s", say=said.append)
    assert page == tmp_path / "s" / "quick.html"
    assert said == [f"inception-cost: {outcomes[0].claim.sentence}", "inception-cost: shown"]
    text = write_page([*outcomes, whole], page).read_text("utf-8")
    assert f"2 claims: 1 shown, 1 {whole.verdict}." in text
    assert text.count("<picture") == 2
    assert "http" not in text.replace("http-equiv", "")  # one file
    for outcome in (*outcomes, whole):
        assert html.escape(outcome.claim.sentence).replace("&#x27;", "&#39;") in text
        assert outcome.findings[0].numbers in text
