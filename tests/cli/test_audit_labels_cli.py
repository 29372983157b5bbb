"""`classicnets audit labels`, and `train --corrections` with what comes of it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

import classicnets as cn
from classicnets.errors import DataError
from classifiers import tiny_classifier
from photos import PHOTO_CLASSES


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tiny_classifier(PHOTO_CLASSES, channels=3).save(tmp_path / "model")


def test_suspects_on_stdout_and_in_a_folder(run_cli, photo_folder: Path, model: Path) -> None:
    (photo_folder / "disc" / "000.jpg").rename(photo_folder / "square" / "from-disc.jpg")
    answer = run_cli("audit", "labels", photo_folder, "--weights", model, "--out", "audit")
    assert answer.code == 0
    assert answer.out.startswith("photos: ")
    assert "suspects among 36 images; about" in answer.out
    assert "page:     audit/labels.html" in answer.out
    assert "classicnets audit labels --page audit" in answer.out
    assert Path("audit/suspects.csv").read_text().startswith("path,label,proposed,score\n")
    again = run_cli("audit", "labels", photo_folder, "--weights", model, "--out", "audit")
    assert again.code == 2
    assert "audit exists" in again.err
    as_json = run_cli("audit", "labels", photo_folder, "--run", model, "--out", "audit-2", "--json")
    found = json.loads(as_json.out)
    assert found["num_images"] == 36
    assert found["suspects"][0].keys() == {"path", "label", "proposed", "score", "like_label", "like_proposed"}
    assert Path("audit/suspects.csv").read_bytes() == Path("audit-2/suspects.csv").read_bytes()


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("nowhere", "--out", "audit"), 3, "no folder or file"),
        (("digits",), 2, "--out DIR"),
        (("digits", "--out", "audit", "--folds", "1"), 2, "folds"),
        (("digits", "--out", "audit", "--weights", "none.pth"), 4, "No weights 'none.pth'"),
        (("digits", "--out", "audit", "--model", "resnet21"), 2, "Did you mean"),
        (("digits", "--out", "audit", "--part", "all", "--weights", "w", "--run", "r"), 2, "not both"),
        (("--page", "none"), 3, "no audit of labels"),
        (("digits", "--page", "none"), 2, "Give only --page DIR"),
    ],
)
def test_mistakes(run_cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args, code: int, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    answer = run_cli("audit", "labels", *args)
    assert answer.code == code
    assert said in answer.err
    assert not Path("audit").exists()


def test_corrections_that_do_not_fit_are_said_before_training(
    run_cli, photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("corrections.csv").write_text("path,action,label\ndisc/000.jpg,relabel,disk\n")
    answer = run_cli("train", "resnet20_cifar", photo_folder, "--corrections", "corrections.csv")
    assert answer.code == 3
    assert "corrections.csv, line 2: there is no class 'disk'. Did you mean 'disc'?" in answer.err
    with pytest.raises(DataError, match="No such file"):
        cn.train("resnet20_cifar", photo_folder, corrections="none.csv", quiet=True)
    assert not Path("runs").exists()


def test_the_page_answers_until_it_is_stopped(run_cli, photo_folder: Path, model: Path) -> None:
    assert run_cli("audit", "labels", photo_folder, "--weights", model, "--out", "audit").code == 0
    command = [sys.executable, "-u", "-m", "classicnets", "audit", "labels", "--page", "audit"]

    def hear_ctrl_c() -> None:  # a test that runs in the background inherits that SIGINT is ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=hear_ctrl_c) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().removeprefix("page: ").strip()
            with urllib.request.urlopen(url, timeout=30) as page:
                assert b"Correct the labels of photos" in page.read()
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    assert "audit/corrections.csv: 0 kept, 0 relabelled, 0 dropped" in rest
    assert "train MODEL DATA --corrections audit/corrections.csv" in rest
