"""`classicnets bench`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from classicnets.deployment.bench import peaks
from classicnets.deployment.bench.peaks import Peaks


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "measure_peaks", lambda threads, progress: Peaks({"fp32": 80.0}, 10.0, threads))


ONE = ("--engines", "onnx", "--no-int8", "--batches", "1,2", "--seconds", "0")


def test_a_table_with_ratios_and_the_roofline(run_cli, tmp_path: Path) -> None:
    figure = tmp_path / "roof.svg"
    done = run_cli("bench", "resnet20_cifar", *ONE, "--figure", str(figure))
    assert done.code == 0, done.err
    assert "ONNX Runtime fp32" in done.out
    assert "80 GFLOP/s in fp32 (matrix product), 10.0 GB/s (memory)" in done.out
    assert "</svg>" in figure.read_text("utf-8")
    assert run_cli("bench", "resnet20_cifar", *ONE, "--figure", str(figure)).code == 2  # it exists


def test_json_and_csv(run_cli) -> None:
    done = run_cli("bench", "resnet20_cifar", *ONE, "--json")
    answer = json.loads(done.out)
    assert [(row["batch"], row["speed"]) for row in answer["rows"]] == [(1, 1.0), (2, 1.0)]
    assert answer["machine"]["usable_cores"] >= 1


def test_layers(run_cli) -> None:
    done = run_cli("bench", "resnet20_cifar", *ONE, "--layers", "--csv")
    assert done.out.splitlines()[0] == "name,kind,kernel,ms,share"
    assert "trunk.conv2.block1.residual" in done.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnet81",), "Did you mean resnet18"),
        (("nin_cifar", "--batches", "1,two"), "--batches must be numbers from 1"),
        (("nin_cifar", "--batches", "0"), "--batches must be numbers from 1"),
        (("nin_cifar", "--engines", "tensorrt"), "No engine named 'tensorrt'"),
        (("nin_cifar", "--engines", ""), "--engines names none"),
        (("nin_cifar", "--csv", "--json"), "--csv cannot be combined with --json"),
        (("nin_cifar", "--figure", "roof.pdf"), "must be a .png or .svg file"),
        (("nin_cifar", "--layers", "--figure", "roof.png"), "--layers looks at one"),
        (("nin_cifar", "--layers", "--engines", "eager"), "No engine to look into"),
    ],
)
def test_mistakes_are_refused_before_anything_is_measured(run_cli, arguments, message) -> None:
    done = run_cli("bench", *arguments)
    assert done.code == 2
    assert message in done.err
