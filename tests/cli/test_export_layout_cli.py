"""`classicnets export --layout`, as typed: for a bundle that exists, and for a run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bundles import write_bundle
from classicnets.cli.main import main
from classifiers import tiny_classifier


def run(*words: object, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["classicnets", "export", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "birds")


def test_a_bundle_gets_a_layout_where_the_user_says(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert run(bundle, "--layout", "triton", "--out", tmp_path / "models", monkeypatch=monkeypatch) == 0
    assert (tmp_path / "models/birds/config.pbtxt").is_file()
    out = capsys.readouterr().out
    assert "the model birds, computed by onnxruntime" in out
    assert "next: docker run" in out


def test_or_beside_the_bundle_and_nothing_is_overwritten(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    for name in ("birds-kserve", "birds-kserve-2"):
        assert run(bundle, "--layout", "kserve", "--json", monkeypatch=monkeypatch) == 0
        assert json.loads(capsys.readouterr().out)["path"] == str(tmp_path / name)
        assert (tmp_path / name / "inferenceservice.yaml").is_file()


def test_a_model_on_a_server_is_called_like_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    bundle = write_bundle(tmp_path / "owls" / "bundle")
    (tmp_path / "owls" / "recipe.toml").touch()
    assert run(bundle, "--layout", "triton", "--json", monkeypatch=monkeypatch) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "owls"


@pytest.mark.parametrize("as_json", [False, True])
def test_a_classifier_gets_a_bundle_and_a_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, as_json: bool
) -> None:
    tiny_classifier().save(tmp_path / "model")
    words = [tmp_path / "model", "--engine", "onnx", "--out", tmp_path / "birds", "--layout", "triton"]
    assert run(*words, *["--json"] * as_json, monkeypatch=monkeypatch) == 0
    assert (tmp_path / "birds/bundle.json").is_file()
    assert (tmp_path / "birds-triton/birds/1/model.onnx").is_file()
    out = capsys.readouterr().out
    if as_json:
        assert json.loads(out)["layout"]["path"] == str(tmp_path / "birds-triton")
    else:
        assert out.rstrip().endswith("tritonserver --model-repository=/models")


def test_options_of_an_export_do_not_apply_to_a_bundle(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert run(bundle, "--layout", "triton", "--max-drop", "1", "--whole-image", monkeypatch=monkeypatch) == 2
    assert "A bundle stays as it is. Leave out --max-drop, --whole-image" in capsys.readouterr().err


def test_a_layout_that_does_not_fit_is_refused_before_the_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    tiny_classifier().save(tmp_path / "model")
    words = (tmp_path / "model", "--out", tmp_path / "birds", "--layout", "ovms", "--engine", "onnx")
    assert run(*words, monkeypatch=monkeypatch) == 2
    assert "OpenVINO Model Server needs a bundle for OpenVINO" in capsys.readouterr().err
    assert not (tmp_path / "birds").exists()
