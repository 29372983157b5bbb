"""`classicnets convert`, used rightly and wrongly."""

import json
import os
import pickle
import shutil

import pytest
import torch
import torchvision
from safetensors.torch import load_file

from classicnets.classifier import Classifier
from classicnets.models.catalog import create
from classicnets.preprocess import Preprocess
from classicnets.system.storage import sha256_of


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The weights of a torchvision ResNet-18 of five classes, and their file as a training script leaves it."""
    state = torchvision.models.resnet18(num_classes=5).state_dict()
    path = tmp_path_factory.mktemp("saved") / "w.pth"
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}, "epoch": 3}, path)
    return state, path


@pytest.fixture
def checkpoint(here, saved):
    """The weights of `w.pth`, which is here."""
    state, path = saved
    shutil.copy(path, here / "w.pth")
    return state


def test_there_and_back_is_what_it_was(run_cli, checkpoint, here):
    there = run_cli("convert", "w.pth", "--model", "resnet18")
    assert there.code == 0
    assert "w.pth: PyTorch file, in 'state_dict', prefix 'module.' removed, names of torchvision" in there.out
    assert "resnet18, 5 classes, 3 input channels: 122 tensors with 11,188,697 numbers, all matched" in there.out
    assert f"written  {here / 'w-classicnets.safetensors'}, names of classicnets" in there.out
    assert load_file("w-classicnets.safetensors").keys() == create("resnet18", device="meta").state_dict().keys()

    back = run_cli(
        "convert", "w-classicnets.safetensors", "--model", "resnet18", "--to", "torchvision", "--out", "b.pth"
    )
    assert back.code == 0
    state = torch.load("b.pth", weights_only=True)
    assert list(state) == list(checkpoint)
    assert all(torch.equal(state[key], checkpoint[key]) for key in state)


def test_json_says_the_same(run_cli, checkpoint):
    answer = run_cli("convert", "w.pth", "--model", "resnet18", "--to", "timm", "--out", "new.safetensors", "--json")
    assert answer.code == 0
    said = json.loads(answer.out)
    assert said["found_names"] == "torchvision"
    assert said["out_names"] == "timm"
    assert (said["num_classes"], said["in_channels"], said["weights"]) == (5, 3, 122)
    assert said["sha256"] == sha256_of("new.safetensors")
    assert load_file(said["out"]).keys() == checkpoint.keys()


def test_a_run_goes_to_torchvision(run_cli, here):
    preprocess = Preprocess(input_size=(32, 32), mean=(0.5,) * 3, std=(0.5,) * 3)
    model = create("resnet18", num_classes=2)
    Classifier(model=model, model_name="resnet18", classes=("a", "b"), preprocess=preprocess).save("run/model")
    answer = run_cli("convert", "run", "--model", "resnet18", "--to", "torchvision")
    assert answer.code == 0
    theirs = torchvision.models.resnet18(num_classes=2)
    theirs.load_state_dict(load_file(here / "run-torchvision.safetensors"))
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(theirs.eval()(images), model.eval()(images))


def test_what_the_user_should_know_is_a_note(run_cli, here):
    torch.save(torchvision.models.googlenet(num_classes=2, init_weights=False).state_dict(), "g.pth")
    answer = run_cli("convert", "g.pth", "--model", "googlenet_bn")
    assert answer.code == 0
    assert "note: torchvision's googlenet normalises its input again" in answer.err


def test_what_was_left_out_is_a_note(run_cli, checkpoint, here):
    state = {f"model.{key}": value for key, value in checkpoint.items()}
    torch.save({"state_dict": {**state, "criterion.weight": torch.ones(5)}}, "l.ckpt")
    answer = run_cli("convert", "l.ckpt", "--model", "resnet18")
    assert answer.code == 0
    assert "note: Left out keys without the prefix 'model.': criterion.weight." in answer.err


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("w.pth", "--model", "resnet81"), 2, "Did you mean resnet18"),
        (("w.pth", "--model", "resnet18", "--out", "here.pth"), 2, "here.pth exists, and is not overwritten"),
        (("w.pth", "--model", "resnet18", "--out", "new.onnx"), 2, "End its name in .safetensors"),
        (("w.pth", "--model", "resnet18", "--to", "keras"), 2, "keras"),
        (("w.pth",), 2, "--model"),
        (("nowhere.pth", "--model", "resnet18"), 4, "No weights 'nowhere.pth'"),
        (("here.pth", "--model", "resnet18"), 4, "here.pth is no weights file"),
        (("empty.pth", "--model", "resnet18"), 4, "empty.pth is no weights file"),
        (("cut.pth", "--model", "resnet18"), 4, "cut.pth is cut short or damaged"),
        (("evil.pth", "--model", "resnet18"), 4, "evil.pth holds more than weights: it asks for"),
        (("whole.pth", "--model", "resnet18"), 4, "asks for torch.nn.modules.linear.Linear"),
        ((".", "--model", "resnet18"), 4, "neither model.safetensors nor"),
        (("w.pth", "--model", "resnet34"), 4, "They fit resnet18"),
        (("w.pth", "--model", "nin_cifar", "--to", "timm"), 4, "They fit resnet18"),
        (("w.pth", "--model", "resnet18", "--out", "here.pth/new.pth"), 6, "Cannot write here.pth/new.pth"),
    ],
)
def test_a_mistake_is_one_clear_message_and_a_code(run_cli, checkpoint, here, args, code, said):
    (here / "here.pth").write_text("not weights")
    (here / "empty.pth").touch()
    (here / "cut.pth").write_bytes((here / "w.pth").read_bytes()[:50_000])
    (here / "evil.pth").write_bytes(pickle.dumps(_Payload(), protocol=2))
    torch.save(torch.nn.Linear(1, 1), "whole.pth")
    before = sorted(os.listdir(here))
    answer = run_cli("convert", *args)
    assert answer.code == code
    assert said in " ".join(answer.err.split())
    assert answer.out == ""
    assert sorted(os.listdir(here)) == before


class _Payload:
    """A trusting reader of this would make a file."""

    def __reduce__(self):
        return os.system, ("touch ran",)


def test_a_model_without_such_names_is_refused(run_cli, here):
    torch.save(create("nin_cifar").state_dict(), "nin.pth")
    answer = run_cli("convert", "nin.pth", "--model", "nin_cifar", "--to", "torchvision")
    assert answer.code == 2
    assert "This model has no 'torchvision' names. Choose from: classicnets." in answer.err
