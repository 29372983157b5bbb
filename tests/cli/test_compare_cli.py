"""`classicnets compare`, as typed: models, runs, and never both."""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "golden" / "0.1.0"


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        shutil.copytree(GOLDEN / "finished", tmp_path / "runs" / name)
    shutil.copytree(GOLDEN / "stopped", tmp_path / "runs" / "stopped")
    return ["runs/one", "runs/two"]


def test_models_as_tables_json_csv_and_figure(run_cli, tmp_path):
    models = ("resnet20_cifar", "nin_cifar", "--no-latency")
    answer = run_cli("compare", *models, "--figure", tmp_path / "nets.svg")
    assert answer.code == 0
    assert answer.out.startswith("model           image  params    MACs")
    assert answer.out.endswith(f"figure: {tmp_path / 'nets.svg'}\n")
    assert "</svg>" in (tmp_path / "nets.svg").read_text()
    found = json.loads(run_cli("compare", *models, "--json").out)
    assert [one["depth"] for one in found["networks"]] == [20, 9]
    rows = csv.DictReader(io.StringIO(run_cli("compare", *models, "--csv").out))
    assert [row["top1"] for row in rows] == ["0.9125", "0.9119"]


def test_latency_is_measured_by_default(run_cli):
    found = json.loads(run_cli("compare", "resnet20_cifar", "nin_half_cifar_bn", "--batch-size", "2", "--json").out)
    assert all(one["latency"]["one"] > 0 for one in found["networks"])
    assert found["latency"]["batch_size"] == 2


def test_runs_as_text_json_and_csv(run_cli, runs):
    answer = run_cli("compare", *runs)
    assert answer.code == 0
    assert "No difference: both are right on the same images, of 359 images." in answer.out
    assert answer.err.startswith("note: Images are matched by their names")
    (pair,) = json.loads(run_cli("compare", *runs, "--json").out)["pairs"]
    assert (pair["images"], pair["p_value"], pair["significant"]) == (359, 1.0, False)
    (row,) = csv.DictReader(io.StringIO(run_cli("compare", *runs, "--csv").out))
    assert (row["first"], row["second"]) == ("one", "two")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("resnet81", "vgg16"), 2, "Did you mean resnet18"),
        (("vgg16",), 2, "got only vgg16"),
        (("vgg16", "runs/one"), 2, "the models vgg16 and the runs runs/one"),
        (("runs/one", "runs"), 2, "runs is not a run folder"),
        (("runs/one", "runs/none"), 2, "There is no run runs/none"),
        (("vgg16", "runs/none"), 2, "There is no run runs/none"),
        (("runs/one", "./runs/one"), 2, "each given once"),
        (("runs/one", "runs/stopped"), 3, "runs/stopped has not been measured on its test images"),
        (("runs/one", "runs/two", "--figure", "x.png"), 2, "classicnets runs runs/one runs/two --figure x.png"),
        (("vgg16", "nin", "--figure", "x.pdf"), 2, "a figure must be a .png or .svg file"),
        (("nin_bn", "alexnet", "--figure", "x.png"), 2, "nothing to draw"),
        (("vgg16", "nin", "--csv", "--json"), 2, "exclude each other"),
    ],
)
def test_wrong_arguments(run_cli, runs, arguments, code, said):
    answer = run_cli("compare", *arguments)
    assert (answer.code, answer.out) == (code, "")
    assert said in answer.err


def test_a_model_is_a_model_even_beside_a_folder_of_its_name(run_cli, runs):
    shutil.copytree("runs/one", "nin_cifar")
    shutil.copytree("runs/one", "mine")
    assert run_cli("compare", "nin_cifar", "resnet20_cifar", "--no-latency").code == 0
    assert "nin_cifar  resnet20_cifar" in run_cli("compare", "./nin_cifar", "mine").out
