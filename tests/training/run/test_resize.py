"""The recipe sets how images are resized, and training sees what prediction sees."""

import numpy as np
import pytest
from PIL import Image

from classicnets.data import load_data
from classicnets.errors import ConfigError
from classicnets.preprocess import Preprocess
from classicnets.training import reopen, start
from classicnets.training.recipe.files import parse_recipe

WIDE = (
    "epochs=6", "batch_size=16", "precision=fp32", "image_size=16", "optim.lr=0.05", "augment.crop=resized",
    "augment.scale=[0.9, 1.0]", "model.switches.depths=[1,1,1]", "data.val_fraction=0.25", "data.test_fraction=0.25",
)  # fmt: skip


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Photos three times as wide as high: the classes differ in the outer sixths alone."""
    folder = tmp_path_factory.mktemp("wide")
    random = np.random.default_rng(0)
    for kind in ("left", "right"):
        (folder / kind).mkdir()
        for i in range(40):
            pixels = random.integers(60, 120, (32, 96, 3), dtype=np.uint8)
            pixels[4:28, 2:14] = 255 if kind == "left" else 0
            pixels[4:28, 82:94] = 0 if kind == "left" else 255
            Image.fromarray(pixels).save(folder / kind / f"{i:02}.png")
    return folder


@pytest.fixture(scope="module")
def runs(wide, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return {resize: _trained(wide, out / resize, resize) for resize in ("crop", "squash", "pad")}


def _trained(wide, out, resize):
    job = start("resnet20_cifar", wide, settings=[*WIDE, f"preprocess.resize={resize}"], out=out)
    job.measure = False
    list(job)
    return job.run


def _best(run):
    return max(row["val_accuracy"] for row in run.metrics("val_accuracy"))


def test_what_matters_at_the_sides_is_learned_from_whole_photos_and_not_from_the_middle(runs):
    assert _best(runs["squash"]) == 1
    assert _best(runs["pad"]) == 1
    assert _best(runs["crop"]) < 0.9


@pytest.mark.parametrize("resize", ["squash", "pad"])
def test_prediction_is_what_validation_measured(wide, runs, resize):
    run = runs[resize]
    classifier = run.classifier
    assert classifier.card.preprocess.resize == resize
    recipe = run.recipe.data
    data = load_data(wide, seed=recipe.split_seed, val_fraction=recipe.val_fraction, test_fraction=recipe.test_fraction)
    answers = [classifier.predict(path).label for path in data.val.paths]
    truth = [data.classes[label] for label in data.val.labels]
    assert np.mean([answer == true for answer, true in zip(answers, truth, strict=True)]) == _best(run)


@pytest.mark.parametrize("resize", ["squash", "pad"])
def test_augmentation_starts_from_the_picture_that_prediction_makes(wide, tmp_path, resize):
    settings = [*WIDE, f"preprocess.resize={resize}", "preprocess.interpolation=bicubic", "augment.scale=[0.25, 1]"]
    job = start("resnet20_cifar", wide, settings=settings, out=tmp_path / "run")
    packed = job._session.loader.packed
    side = packed.images.shape[-1]
    assert side == 32  # the smallest crop, a quarter of the area, has the 16 pixels of the input
    picture = Preprocess(
        input_size=(side, side), resize=resize, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3
    )
    first = job._prepared.data.train.paths[0]
    assert np.array_equal(packed.images[0], picture.read(first))
    if resize == "pad":
        assert packed.images[:, :, 0].max() == 0


def test_the_settings_are_kept_with_the_run_and_the_classifier(wide, tmp_path):
    settings = [*WIDE, "preprocess.resize=pad", "preprocess.crop_fraction=0.875", "preprocess.interpolation=bicubic"]
    job = start("resnet20_cifar", wide, settings=settings, out=tmp_path / "run")
    assert parse_recipe(job.recipe.to_toml(), "x") == job.recipe == job.run.recipe
    preprocess = job._session.validation.card.preprocess
    assert (preprocess.resize, preprocess.crop_fraction, preprocess.interpolation) == ("pad", 0.875, "bicubic")
    next(events := iter(job))
    events.close()
    assert reopen(job.run)._session.preprocess == preprocess
    with pytest.raises(
        ConfigError, match=r"preprocess\.resize was 'pad' and is 'crop'.*cannot be used after this change"
    ):
        reopen(job.run, settings=["preprocess.resize=crop"], allow_change=True)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("preprocess.resize=stretch", r"preprocess\.resize = 'stretch'"),
        ("preprocess.crop_fraction=0", r"preprocess\.crop_fraction = 0"),
        ("preprocess.crop_fraction=1.5", r"preprocess\.crop_fraction = 1.5"),
        ("preprocess.crop_fraction=nan", r"preprocess\.crop_fraction"),
        ("preprocess.crop_fraction=0.001", r"preprocess\.crop_fraction is 0.001; .*at most 8192 pixels"),
        ("preprocess.interpolation=lanczos", r"preprocess\.interpolation = 'lanczos'"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_before_anything_is_written(wide, tmp_path, setting, said):
    with pytest.raises(ConfigError, match=said):
        start("resnet20_cifar", wide, settings=[*WIDE, setting], out=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
