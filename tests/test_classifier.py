"""The Classifier: one path of inference, a folder that comes back equal, and no way in for a file that was changed."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm.data
import torch
import yaml
from safetensors.torch import load_file, save_file

import classicnets
from classicnets.classifier import Classifier, _evaluations, evaluating
from classicnets.conformal import Conformal
from classicnets.errors import BadImage, ChecksumMismatch, ConfigError, KeysMismatch, UnknownName, WeightsError
from classicnets.models.catalog import create
from classicnets.scorer import Answer
from classicnets.system.storage import sha256_of
from classicnets.weights.model_folder import read_folder
from classifiers import images_for, tiny_classifier
from photos import encode, make_photo

# ---- inference


def test_any_batch_size_gives_the_same_logits() -> None:
    classifier = tiny_classifier()
    images = images_for(classifier, 13).images
    expected = classifier.logits(images)
    assert expected.shape == (13, 3)
    for batch_size in (1, 4, 13):
        torch.testing.assert_close(classifier.logits(images, batch_size=batch_size), expected)


def test_logits_are_those_of_the_model_on_preprocessed_images() -> None:
    classifier = tiny_classifier()
    images = images_for(classifier, 4).images
    with torch.no_grad():
        expected = classifier.model.eval()((images.float() / 255 - 0.4) / 0.2)
    torch.testing.assert_close(classifier.logits(images), expected, rtol=1e-4, atol=1e-5)


def test_modes_are_left_as_they_were_on_errors_too() -> None:
    classifier = tiny_classifier()
    classifier.model.train()
    classifier.model.trunk[0].eval()  # a frozen stage
    before = [module.training for module in classifier.model.modules()]
    classifier.logits(torch.zeros(2, 1, 12, 12, dtype=torch.uint8))
    assert [module.training for module in classifier.model.modules()] == before
    with pytest.raises(ConfigError, match="1 channels"):
        classifier.logits(torch.zeros(2, 2, 12, 12, dtype=torch.uint8))
    assert [module.training for module in classifier.model.modules()] == before
    assert len(set(before)) == 2


def test_flip_averages_the_probabilities_of_an_image_and_its_mirror_image() -> None:
    plain, flip = tiny_classifier(), tiny_classifier(tta="flip")
    images = images_for(plain, 5).images
    expected = (plain.logits(images).softmax(1) + plain.logits(images.flip(-1)).softmax(1)) / 2
    torch.testing.assert_close(flip.logits(images).softmax(1), expected)
    assert not torch.allclose(plain.logits(images).softmax(1), expected, atol=1e-3)


def test_bf16_is_close_and_logits_are_float32() -> None:
    classifier = tiny_classifier()
    images = images_for(classifier, 6).images
    coarse = classifier.logits(images, precision="bf16")
    assert coarse.dtype == torch.float32
    torch.testing.assert_close(coarse, classifier.logits(images), atol=0.1, rtol=0.1)
    assert not torch.equal(coarse, classifier.logits(images))


def test_progress_ends_with_all_images() -> None:
    seen: list[tuple[int, int]] = []
    images = torch.zeros(5, 1, 12, 12, dtype=torch.uint8)
    tiny_classifier().logits(images, batch_size=2, progress=lambda *step: seen.append(step))
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_no_images_give_no_logits() -> None:
    assert tiny_classifier().logits(torch.zeros(0, 1, 12, 12, dtype=torch.uint8)).shape == (0, 3)


# ---- predict


def test_path_bytes_and_tensor_get_the_same_answer(tmp_path: Path) -> None:
    classifier = tiny_classifier()
    data = encode(make_photo("disc", 0), "png")
    path = tmp_path / "disc.png"
    path.write_bytes(data)
    answers = [classifier.predict(image) for image in (path, str(path), data, classicnets.read_image(path))]
    assert [a.path for a in answers] == [str(path), str(path), "image 0", "image 0"]
    assert len({a.predictions for a in answers}) == 1
    assert answers[0].label == answers[0].predictions[0].label == classifier.classes[answers[0].predictions[0].index]
    scores = [guess.score for guess in answers[0].predictions]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1)


def test_predict_is_what_logits_say() -> None:
    classifier = tiny_classifier()
    image = images_for(classifier, 1).images[0]
    (best,) = classifier.predict(image, top_k=1).predictions
    probabilities = classifier.logits(image[None]).softmax(1)[0]
    assert best.index == int(probabilities.argmax())
    assert best.score == pytest.approx(probabilities.max().item())


def test_many_are_answered_in_order_and_bad_ones_are_named(tmp_path: Path) -> None:
    classifier = tiny_classifier()
    (tmp_path / "text.jpg").write_text("no image")
    good = [make_photo("disc", i) for i in range(5)]
    given: list[Any] = [encode(image) for image in good]
    given.insert(2, tmp_path / "text.jpg")
    given.append(tmp_path / "none.png")
    answers = list(classifier.predict_many(iter(given), batch_size=3))
    assert [type(a) for a in answers] == [Answer] * 2 + [BadImage] + [Answer] * 3 + [BadImage]
    assert answers[2].name == str(tmp_path / "text.jpg")
    alone = [classifier.predict(image).predictions for image in given if isinstance(image, bytes)]
    together = [a.predictions for a in answers if isinstance(a, Answer)]
    assert [[g.label for g in guesses] for guesses in together] == [[g.label for g in guesses] for guesses in alone]
    with pytest.raises(BadImage, match=r"none\.png"):
        classifier.predict(tmp_path / "none.png")


def test_every_form_of_an_image_gets_the_same_answer(tmp_path: Path) -> None:
    classifier = tiny_classifier(channels=3)
    photo = make_photo("disc", 0)
    path = tmp_path / "disc.png"
    path.write_bytes(encode(photo, "png"))
    array = np.array(photo)
    with path.open("rb") as file:
        forms = [path, file, io.BytesIO(path.read_bytes()), bytearray(path.read_bytes()), photo, array]
        forms += [torch.from_numpy(array).permute(2, 0, 1)]
        answers = list(classifier.predict_many(forms))
    assert [answer.path for answer in answers] == [str(path)] * 2 + [f"image {i}" for i in range(2, 7)]
    scores = np.array([[guess.score for guess in answer.predictions] for answer in answers])
    assert len({tuple(guess.label for guess in answer.predictions) for answer in answers}) == 1
    assert np.ptp(scores, axis=0).max() < 1e-6  # the place in a batch may change the last bit


def test_wrong_images_are_named_among_the_others() -> None:
    classifier = tiny_classifier()
    good = torch.zeros(3, 20, 20, dtype=torch.uint8)
    wrong: list[Any] = [torch.rand(3, 8, 8), good[None], good[:, :0], np.zeros((8, 8)), None, 7, ["a.jpg"], good[:2]]
    given = [one for pair in zip(wrong, [good] * len(wrong), strict=True) for one in pair]
    answers = list(classifier.predict_many(given, batch_size=3))
    assert [type(answer) for answer in answers] == [BadImage, Answer] * len(wrong)
    assert [answer.name for answer in answers[::2]] == [f"image {2 * i}" for i in range(len(wrong))]
    assert "got a tensor, float32 (3, 8, 8)" in answers[0].reason
    with pytest.raises(BadImage, match="image 0: got an object of type NoneType; an image is a path"):
        classifier.predict(None)


def test_a_batch_is_many_images() -> None:
    classifier = tiny_classifier(channels=3)
    batch = torch.randint(0, 256, (4, 3, 20, 20), dtype=torch.uint8)
    alone = [classifier.predict(image).label for image in batch]
    for images in (batch, batch.permute(0, 2, 3, 1).numpy(), iter(batch)):
        assert [answer.label for answer in classifier.predict_many(images)] == alone


@pytest.mark.parametrize(
    "image",
    [
        "cat.jpg", Path("cat.jpg"), b"", bytearray(), io.BytesIO(), make_photo("disc", 0), None,
        np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8), torch.zeros(3, 8, 8, dtype=torch.uint8),
    ],
    ids=lambda image: type(image).__name__,
)  # fmt: skip
def test_one_image_is_not_many(image: Any) -> None:
    """Some could be iterated over: the rows of an array, the lines of a file."""
    with pytest.raises(
        ConfigError, match=r"takes many images, got one \(.*\). Use predict for one image, or give a list"
    ):
        tiny_classifier().predict_many(image)


def test_json_of_a_prediction() -> None:
    answer = tiny_classifier().predict(torch.zeros(3, 20, 20, dtype=torch.uint8), top_k=1)
    (guess,) = answer.predictions
    assert json.loads(json.dumps(answer.to_dict())) == {
        "path": "image 0",
        "predictions": [{"label": guess.label, "score": guess.score, "index": guess.index}],
        "model": "resnet20_cifar",
    }


def test_top_k_beyond_the_classes_means_all() -> None:
    assert len(tiny_classifier().predict(torch.zeros(3, 20, 20, dtype=torch.uint8), top_k=99).predictions) == 3


@pytest.mark.parametrize(("images", "options"), [("cat.jpg", {}), ([], {"top_k": 0}), ([], {"batch_size": 0})])
def test_predict_many_refuses_at_once(images: Any, options: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        tiny_classifier().predict_many(images, **options)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_model_of_another_floating_point_type_answers_and_is_saved(dtype: torch.dtype, tmp_path: Path) -> None:
    plain, other = tiny_classifier(), tiny_classifier()
    other.model.to(dtype)
    images = images_for(plain, 3).images
    logits = other.logits(images)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, plain.logits(images), atol=0.1, rtol=0.1)
    assert other.predict(images[0].expand(3, -1, -1)).label in other.classes
    loaded = Classifier.load(other.save(tmp_path / "m"))
    assert next(loaded.model.parameters()).dtype == torch.float32
    torch.testing.assert_close(loaded.logits(images), logits, atol=0.1, rtol=0.1)


def test_threads_in_eval_mode_do_not_end_it_for_one_another() -> None:
    model = tiny_classifier().model.train()
    model.trunk[0].eval()
    before = [module.training for module in model.modules()]
    first_is_in, second_is_in, first_is_out = threading.Event(), threading.Event(), threading.Event()
    seen: list[bool] = []

    def first() -> None:
        with evaluating(model):
            first_is_in.set()
            second_is_in.wait(10)
        first_is_out.set()

    def second() -> None:
        first_is_in.wait(10)
        with contextlib.suppress(ZeroDivisionError), evaluating(model):
            second_is_in.set()
            first_is_out.wait(10)
            seen.extend([any(module.training for module in model.modules()), torch.is_inference_mode_enabled()])
            raise ZeroDivisionError

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [False, True]
    assert [module.training for module in model.modules()] == before
    assert not _evaluations


def test_many_threads_get_the_answers_of_one() -> None:
    classifier = tiny_classifier()
    classifier.model.train()
    images = images_for(classifier, 8).images
    expected = classifier.logits(images)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: classifier.logits(images, batch_size=2), range(40)))
    for answer in answers:
        torch.testing.assert_close(answer, expected)
    assert all(module.training for module in classifier.model.modules())


# ---- parts that do not fit


def _changed(**change: Any) -> Classifier:
    plain = tiny_classifier()
    parts = {"model": plain.model, **{f.name: getattr(plain.card, f.name) for f in fields(plain.card)}}
    return Classifier(**{**parts, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ("a", "b")}, "3 outputs, but 2 class names"),
        ({"classes": ("a", "a", "b")}, "distinct and not empty. Rename: 'a'"),
        ({"classes": ("a", "", "b")}, "distinct and not empty. Rename: ''"),
        ({"classes": ("a", "\udc80", "b")}, "valid Unicode"),
        ({"classes": (1, 2, 3)}, "must be strings, got 1, 2, 3"),
        ({"classes": "abc"}, "a list of names, got the single name 'abc'"),
        ({"preprocess": tiny_classifier(channels=3).preprocess}, "takes 1 channels, but the preprocessing gives 3"),
        ({"tta": "mirror"}, "must be 'none' or 'flip', got 'mirror'"),
        ({"temperature": 0.0}, "temperature must be a finite number above 0, got 0.0"),
        ({"temperature": float("nan")}, "temperature must be a finite number above 0, got nan"),
        ({"conformal": Conformal.of([[1.0]], [0])}, "of 1 classes, and the classifier has 3"),
        ({"model_name": "vgg16"}, "'vgg16' is a VGG, but the model is a ResNet"),
        ({"model": torch.nn.Linear(1, 3)}, r"got torch\.nn\.modules\.linear\.Linear\. create_model"),
        ({"model": torch.nn.DataParallel(tiny_classifier().model)}, r"Give the network inside it: model\.module"),
    ],
)
def test_parts_must_fit(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _changed(**change)


def test_a_name_of_the_users_own_is_refused_with_the_catalogs() -> None:
    model = create("resnet20_cifar", num_classes=3, in_channels=1)
    with pytest.raises(UnknownName, match=r"got 'birds-v2'\. This network is resnet20_cifar\."):
        _changed(model=model, model_name="birds-v2")


def test_a_network_that_is_another_row_gets_that_name(caplog: pytest.LogCaptureFixture) -> None:
    model = create("resnet20_cifar", num_classes=3, in_channels=1)
    assert _changed(model=model, model_name="resnet32_cifar").model_name == "resnet20_cifar"
    assert caplog.messages == ["The network is resnet20_cifar, so the classifier is called that, not resnet32_cifar."]
    assert _changed(model_name="resnet32_cifar").model_name == "resnet32_cifar"  # no row has its depths


def _own_head(model: torch.nn.Module) -> None:
    model.head.classifier = torch.nn.Sequential(torch.nn.Linear(64, 8), torch.nn.Linear(8, 3))


def _own_fc(model: torch.nn.Module) -> None:
    model._modules["fc"] = torch.nn.Linear(64, 3)  # past the network's own refusal


def _own_activation(model: torch.nn.Module) -> None:
    (name, _), *_ = [(n, m) for n, m in model.named_modules() if isinstance(m, torch.nn.ReLU)]
    model.set_submodule(name, torch.nn.GELU())


def _other_shape(model: torch.nn.Module) -> None:
    model.head.classifier = torch.nn.Linear(64, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_own_head, r"head\.classifier is Sequential, not Linear.*Supported are create_model"),
        (_own_fc, r"fc\.weight does not belong to it"),
        (_own_activation, "is GELU, not ReLU"),
        (_other_shape, r"head\.classifier\.weight is \(4, 64\), not \(3, 64\)"),
    ],
)
def test_layers_of_the_users_own_are_refused(change: Callable[[Any], None], message: str, tmp_path: Path) -> None:
    classifier = tiny_classifier()
    change(classifier.model)
    with pytest.raises(ConfigError, match=message):
        Classifier.of(classifier.card, classifier.model)
    with pytest.raises(ConfigError, match=message):
        classifier.save(tmp_path / "m")
    assert not (tmp_path / "m").exists()


# ---- on disk

CLASSES = ("T-shirt/top", "猫", 'quote " and, comma')


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    provenance = {"data": {"name": "things [x]"}, "metrics": {"top1": 0.5, "top1_interval": [0.4, 0.6]}}
    return tiny_classifier(CLASSES, tta="flip", provenance=provenance).save(tmp_path / "run" / "model")


@pytest.mark.parametrize("what", [".", ".."])
def test_a_model_folder_and_its_run_load_the_same(saved: Path, what: str) -> None:
    original = tiny_classifier(CLASSES, tta="flip")
    loaded = classicnets.load(saved / what)
    images = images_for(original, 4).images
    torch.testing.assert_close(loaded.logits(images), original.logits(images), rtol=1e-5, atol=1e-6)
    assert (loaded.model_name, loaded.classes, loaded.tta) == ("resnet20_cifar", CLASSES, "flip")
    assert loaded.preprocess == original.preprocess
    assert loaded.model.config == original.model.config
    assert loaded.provenance["metrics"]["top1_interval"] == [0.4, 0.6]
    assert not loaded.model.training


def test_saving_what_was_loaded_gives_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    again = Classifier.load(saved).save(tmp_path / "again")
    for name in ("config.json", "model.safetensors", "README.md"):
        assert (again / name).read_bytes() == (saved / name).read_bytes()


def test_an_older_classifier_is_replaced_and_nothing_else_is(saved: Path, tmp_path: Path) -> None:
    tiny_classifier(("x", "y")).save(saved)
    assert Classifier.load(saved).classes == ("x", "y")
    assert sorted(f.name for f in saved.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert [f.name for f in saved.parent.iterdir()] == ["model"]
    (saved / "mine.txt").write_text("precious")
    with pytest.raises(ConfigError, match=r"mine\.txt"):
        tiny_classifier().save(saved)
    assert (saved / "mine.txt").read_text() == "precious"
    with pytest.raises(ConfigError, match="a file"):
        tiny_classifier().save(saved / "mine.txt")


class _Fspath:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)


def test_anything_that_names_a_path_will_do(saved: Path, tmp_path: Path) -> None:
    assert classicnets.load(_Fspath(saved.parent)).classes == CLASSES
    assert tiny_classifier().save(_Fspath(tmp_path / "new")) == tmp_path / "new"
    assert Classifier.load(tmp_path / "new").classes == ("a", "b", "c")


def test_a_compiled_model_answers_as_it_did_and_is_saved_as_itself(saved: Path, tmp_path: Path) -> None:
    loaded = Classifier.load(saved)
    compiled = Classifier.of(loaded.card, torch.compile(loaded.model, backend="eager"))
    images = images_for(loaded, 3).images
    torch.testing.assert_close(compiled.logits(images), loaded.logits(images))
    again = compiled.save(tmp_path / "again")
    assert (again / "model.safetensors").read_bytes() == (saved / "model.safetensors").read_bytes()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_not_saved(saved: Path, value: float) -> None:
    classifier = tiny_classifier()
    with torch.no_grad():
        classifier.model.head.classifier.bias.fill_(value)
    with pytest.raises(ConfigError, match=r"head\.classifier\.bias holds numbers that are not finite"):
        classifier.save(saved)
    assert Classifier.load(saved).classes == CLASSES


@pytest.mark.parametrize("value", [{1, 2}, Path("x"), torch.zeros(1)])
def test_provenance_that_is_not_json_is_not_saved(saved: Path, value: object) -> None:
    with pytest.raises(ConfigError, match="cannot be saved as JSON"):
        tiny_classifier(provenance={"data": value}).save(saved)
    assert Classifier.load(saved).classes == CLASSES


# ---- while another process saves, and after it was killed

_WRITER = """
import itertools, sys
sys.path.insert(0, {tests!r})
from classifiers import tiny_classifier

two = tiny_classifier(("a", "b", "c")), tiny_classifier(("x", "y"))
for i in itertools.count(1):
    two[i % 2].save({folder!r})
    if i == 1:
        print("saving", flush=True)
"""


def _of(classifier: Classifier) -> tuple[object, ...]:
    return classifier.classes, _numbers(classifier.model.state_dict())


def _numbers(state: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: float(tensor.double().sum()) for name, tensor in state.items()}


@pytest.mark.timeout(1200)
def test_a_reader_gets_the_old_or_the_new_classifier_while_another_process_saves(tmp_path: Path) -> None:
    """It reads until the classifier has changed eight times between two reads, however long the machine takes."""
    two = tiny_classifier(("a", "b", "c")), tiny_classifier(("x", "y"))
    both = [_of(one) for one in two]
    folder = two[0].save(tmp_path / "m")
    reads = changes = 0
    last: tuple[object, ...] | None = None
    code = _WRITER.format(tests=str(Path(__file__).parent), folder=str(folder))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "saving\n"
            deadline = time.monotonic() + 1000
            while reads < 30 or changes < 8:
                assert time.monotonic() < deadline, f"{changes} changes in {reads} reads"
                if reads % 3:
                    saved, state, _ = read_folder(folder)
                    found = tuple(saved.label_names), _numbers(state)
                else:
                    found = _of(Classifier.load(folder))
                assert found in both
                changes += last is not None and found != last
                last = found
                reads += 1
            assert writer.poll() is None
        finally:
            writer.kill()
    assert _of(Classifier.load(folder)) in both


def test_a_kill_at_any_step_leaves_a_whole_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = tiny_classifier(("a", "b", "c")), tiny_classifier(("x", "y"))
    folder = two[0].save(tmp_path / "m")
    left: list[Path] = []  # what is on the disk before each step, which is what a kill there would leave

    def step(real: Callable[..., Any], *args: Any, **options: Any) -> Any:
        left.append(Path(shutil.copytree(folder, tmp_path / f"left-{len(left)}")))
        return real(*args, **options)

    with monkeypatch.context() as patch:
        for name in ("replace", "rename"):
            patch.setattr(os, name, partial(step, getattr(os, name)))
        patch.setattr(Path, "unlink", lambda *args, real=Path.unlink, **options: step(real, *args, **options))
        two[1].save(folder)

    found = [[_of(one) for one in two].index(_of(Classifier.load(place))) for place in left]
    assert found == sorted(found)
    assert {0, 1} == set(found)
    assert len(found) >= 6
    for place in left:
        two[1].save(place)
        assert sorted(os.listdir(place)) == ["README.md", "config.json", "model.safetensors"]
        assert _of(Classifier.load(place)) == _of(two[1])


def test_weights_of_a_save_that_was_killed_do_not_hide_damage(saved: Path) -> None:
    shutil.copy(saved / "config.json", saved / ".config.json")
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ChecksumMismatch):
        Classifier.load(saved)


def test_config_is_what_timm_reads(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text("utf-8"))
    assert {key: config[key] for key in ("architecture", "num_classes", "num_features", "label_names")} == {
        "architecture": "resnet20_cifar",
        "num_classes": 3,
        "num_features": 64,
        "label_names": list(CLASSES),
    }
    resolved = timm.data.resolve_data_config(pretrained_cfg=config["pretrained_cfg"])
    assert resolved == {
        "input_size": [1, 12, 12],
        "interpolation": "bilinear",
        "mean": [0.4],
        "std": [0.2],
        "crop_pct": 1.0,
        "crop_mode": "center",
    }


def test_the_card_says_what_it_is(saved: Path) -> None:
    _, header, text = (saved / "README.md").read_text("utf-8").split("---\n", 2)
    assert yaml.safe_load(header) == {
        "library_name": "classicnets",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "classicnets"],
        "datasets": ["things [x]"],
        "metrics": ["accuracy"],
    }
    for words in (
        "resnet20\\_cifar on things \\[x\\]",
        "猫",
        "12 x 12 pixels",
        "| top1 interval | 0.4 to 0.6 |",
        "mirror",
    ):
        assert words in text


def test_a_card_says_when_its_figures_chose_the_model(tmp_path: Path) -> None:
    tiny_classifier(provenance={"metrics": {"data": "x validation", "top1": 1.0}}).save(tmp_path / "m")
    assert "expect less on new images" in (tmp_path / "m" / "README.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "does not exist"),
        (lambda p: p.mkdir(), "neither config.json nor model/config.json"),
        (lambda p: p.write_text("x"), "neither config.json nor model/config.json"),
        (lambda p: (p.mkdir(), (p / "recipe.toml").touch()), "train --resume"),
    ],
)
def test_a_place_without_a_classifier(tmp_path: Path, make: Callable[[Path], Any], message: str) -> None:
    make(tmp_path / "place")
    with pytest.raises(WeightsError, match=message):
        Classifier.load(tmp_path / "place")


def test_device_that_is_not_there(saved: Path) -> None:
    with pytest.raises(ConfigError, match="quantum"):
        Classifier.load(saved, device="quantum")


# ---- files that were changed


def _edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text("utf-8"))
    change(config)
    path.write_text(json.dumps(config), "utf-8")


def _edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    """Change the weights and their recorded SHA-256, as someone who knows the format would."""
    path = folder / "model.safetensors"
    state = load_file(path)
    change(state)
    save_file(state, path)
    _edit(folder, lambda c: c["classicnets"].update(sha256=sha256_of(path)))


@pytest.mark.parametrize("where", [10, -10])
def test_a_flipped_byte(saved: Path, where: int) -> None:
    path = saved / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.write_bytes(data)
    with pytest.raises(ChecksumMismatch, match="damaged or was changed"):
        Classifier.load(saved)


def test_a_truncated_file(saved: Path) -> None:
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ChecksumMismatch):
        Classifier.load(saved)
    _edit(saved, lambda c: c["classicnets"].update(sha256=sha256_of(path)))
    with pytest.raises(WeightsError, match="not a complete safetensors file"):
        Classifier.load(saved)


def test_a_missing_weights_file(saved: Path) -> None:
    (saved / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="Cannot read"):
        Classifier.load(saved)


def test_a_pickle_in_place_of_the_weights_does_not_run(saved: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "pwned",))

    path = saved / "model.safetensors"
    path.write_bytes(pickle.dumps(Evil()))
    _edit(saved, lambda c: c["classicnets"].update(sha256=sha256_of(path)))
    with pytest.raises(WeightsError):
        Classifier.load(saved)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda s: s.pop("head.classifier.weight"), KeysMismatch, "missing: head.classifier.weight"),
        (lambda s: s.update(extra=torch.zeros(1)), KeysMismatch, "unexpected: extra"),
        (lambda s: s.update({"head.classifier.bias": torch.zeros(4)}), KeysMismatch, "head.classifier.bias"),
        (lambda s: s["head.classifier.bias"].fill_(float("nan")), WeightsError, "not finite"),
        (lambda s: s["head.classifier.bias"].fill_(float("inf")), WeightsError, "not finite"),
        (lambda s: s.clear(), KeysMismatch, "missing"),
    ],
)
def test_weights_that_do_not_fit(saved: Path, change: Callable[[Any], Any], error: type, message: str) -> None:
    _edit_weights(saved, change)
    with pytest.raises(error, match=message):
        Classifier.load(saved)


def _ours(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda config: config["classicnets"].update(values)


def _net(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda config: config["classicnets"]["config"].update(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(architecture="resnet999"), "'resnet999' is not one of this package's"),
        (lambda c: c.update(architecture="os.system"), "not one of this package's"),
        (lambda c: c.update(architecture=["resnet20_cifar"]), "architecture"),
        (lambda c: c.pop("architecture"), "architecture"),
        (lambda c: c.update(label_names=["a", "b"]), "2 the label_names"),
        (lambda c: c.update(label_names=["a", "a", "b"]), "distinct"),
        (lambda c: c.update(label_names="abc"), "label_names"),
        (lambda c: c.update(num_classes=10**12), "1000000000000 is the num_classes"),
        (lambda c: c.update(classicnets=7), "classicnets"),
        (lambda c: c.pop("classicnets"), "not written by classicnets"),
        (lambda c: c["classicnets"].pop("sha256"), "sha256"),
        (_ours(sha256="0"), "sha256"),
        (_ours(surprise=1), "surprise"),
        (_ours(format=2), "format"),
        (_ours(tta="mirror"), "tta"),
        (_ours(temperature=0), "temperature"),
        (_ours(temperature="hot"), "temperature"),
        (_ours(temperature=float("inf")), "temperature"),
        (_ours(conformal={}), "scores for sets with coverage"),
        (_ours(conformal=7), "conformal"),
        (_ours(drift={}), "scores for drift"),
        (_ours(drift=7), "drift"),
        (_ours(novelty={"threshold": 1.0}), "novelty"),
        (_ours(novelty={"threshold": float("nan"), "false_alarm_rate": 0.05, "num_images": 9}), "novelty.threshold"),
        (_ours(novelty={"threshold": 1.0, "false_alarm_rate": 0.05, "num_images": 9, "sha256": "../x"}), "sha256"),
        (_ours(preprocess={}), "preprocess"),
        (lambda c: c["classicnets"]["preprocess"].update(input_size=[10**9, 10**9]), "input_size"),
        (lambda c: c["classicnets"]["preprocess"].update(surprise=1), "surprise"),
        (_net(surprise=1), "surprise"),
        (_net(depths=[10**9]), "a size above 4096"),
        (_net(widths=[4096] * 3, depths=[9] * 3), "asks for"),
        (_net(depths=[]), "depths|built"),
        (_net(depths="deep"), "depths"),
        (_net(in_channels=-1), "in_channels"),
        (_net(activation="os.system"), "activation"),
        (_net(num_classes=None), "the network's classes"),
        (_net(in_channels=3), "channels"),
    ],
)
def test_a_config_that_was_edited(saved: Path, change: Callable[[Any], Any], message: str) -> None:
    _edit(saved, change)
    with pytest.raises(WeightsError, match=message):
        Classifier.load(saved)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\xff\xfe", "[" * 100_000, '{"classicnets": {}}'])
def test_a_config_that_is_none(saved: Path, text: str) -> None:
    (saved / "config.json").write_text(text, "latin-1")
    with pytest.raises(WeightsError, match="is not a classifier's config"):
        Classifier.load(saved)
