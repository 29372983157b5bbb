"""A run that goes on is the same run: what differs is named, and refused."""

from dataclasses import replace

import pytest

from classicnets.errors import ConfigError, DataError
from classicnets.training.recipe.files import with_settings
from classicnets.training.run.identity import check_same, identity, same_batches


def check(before, now, *, allow_change=False):
    return check_same(before, now, run="runs/mine", allow_change=allow_change)


def test_the_same_passes_and_what_changes_no_number_may_change(corners, recipe):
    before = identity(recipe, corners)
    assert check(before, before) == []
    other = with_settings(recipe, ["workers=4", "on_nan=rollback", "description=hello", "data.source=elsewhere"])
    assert check(before, identity(other, corners)) == []


def test_every_changed_key_is_named_with_both_values(corners, recipe):
    now = identity(with_settings(recipe, ["optim.lr=0.01", "epochs=9"]), corners)
    with pytest.raises(ConfigError, match=r"epochs was 3 and is 9; optim\.lr was 0\.05 and is 0\.01.*--allow-change"):
        check(identity(recipe, corners), now)
    assert len(check(identity(recipe, corners), now, allow_change=True)) == 2


def test_changed_images_are_named(corners, recipe):
    before = identity(recipe, corners)
    fewer = replace(corners, train=corners.train.subset(range(60)))
    with pytest.raises(DataError, match="the number of train images was 80 and is 60; an epoch had 5 steps and has 3"):
        check(before, identity(recipe, fewer))
    other = replace(corners, val=replace(corners.val, images=corners.val.images + 1))
    with pytest.raises(DataError, match="not those images"):
        check(before, identity(recipe, other))
    assert not same_batches(before, identity(recipe, fewer))
    assert same_batches(before, identity(recipe, other))


@pytest.mark.parametrize("setting", ["model.name=vgg11", "image_size=64", "ema=0.9", "optim.name=adamw"])
def test_what_no_checkpoint_survives_is_refused_in_any_case(corners, recipe, setting):
    now = identity(with_settings(recipe, [setting]), corners)
    with pytest.raises(ConfigError, match=r"--weights runs/mine"):
        check(identity(recipe, corners), now, allow_change=True)


def test_changed_classes_are_refused_in_any_case(corners, recipe):
    classes = ("NW", "NE", "SW", "middle")
    parts = {name: replace(images, classes=classes) for name, images in corners.parts.items()}
    with pytest.raises(DataError, match=r"removed 'SE' and added 'middle'.*--weights"):
        check(identity(recipe, corners), identity(recipe, replace(corners, **parts)), allow_change=True)


def test_a_key_that_came_later_has_its_default_in_an_older_run(corners, recipe):
    before = identity(recipe, corners)
    del before["recipe"]["patience"], before["recipe"]["distill"]["temperature"], before["recipe"]["progressive"]
    assert check(before, identity(recipe, corners)) == []
    with pytest.raises(ConfigError, match="patience was None and is 3"):
        check(before, identity(with_settings(recipe, ["patience=3"]), corners))


def test_a_key_of_another_version_says_which_version_can_go_on(corners, recipe):
    before = identity(recipe, corners)
    before["recipe"]["optim"]["lookahead"] = 5
    with pytest.raises(ConfigError, match=r"another version.*optim\.lookahead.*environment\.json.*--weights runs/mine"):
        check(before, identity(recipe, corners))


@pytest.mark.parametrize("crop", ["resized", "jitter"])
def test_random_crops_of_an_earlier_version_are_refused_in_one_sentence(corners, recipe, crop):
    now = identity(with_settings(recipe, [f"augment.crop={crop}"]), corners)
    assert check(now, now) == []
    before = {key: value for key, value in now.items() if key != "pipeline"}
    with pytest.raises(ConfigError, match=r"random crops came from the centre of the photos and come from the whole"):
        check(before, now)
    assert len(check(before, now, allow_change=True)) == 1


@pytest.mark.parametrize("crop", ["none", "pad"])
def test_without_random_crops_an_earlier_run_goes_on(corners, recipe, crop):
    assert "pipeline" not in identity(with_settings(recipe, [f"augment.crop={crop}"]), corners)
