"""A recipe that was chosen for the data is fitted to the number of images; what the user sets stays."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from classicnets.data.imageset import ImageSet
from classicnets.models.catalog import create
from classicnets.training.recipe.choose import FITTED, fitted, in_color, natural_size
from classicnets.training.recipe.files import load_recipe, with_settings
from classicnets.training.recipe.plan import resolve
from classicnets.training.recipe.schema import Recipe
from photos import write_photos

PHOTOS = load_recipe("photos")
SMALL = load_recipe("small-set")
LONG = with_settings(PHOTOS, ["epochs=1000"])


@pytest.mark.parametrize(
    ("num_train", "batch_size", "lr"),
    [
        (2, 16, 0.05), (319, 16, 0.05), (320, 16, 0.05), (639, 16, 0.05), (640, 32, 0.1), (1_279, 32, 0.1),
        (1_280, 64, 0.2), (1_000_000, 64, 0.2),
    ],
)  # fmt: skip
def test_the_batch_is_the_largest_power_of_two_that_leaves_20_steps_and_the_rate_follows(num_train, batch_size, lr):
    recipe, _ = fitted(LONG, num_train, 96)
    assert recipe.batch_size == batch_size
    assert recipe.optim.lr == pytest.approx(lr)


@pytest.mark.parametrize("name", FITTED)
@pytest.mark.parametrize("num_train", [1, 50, 700, 5_000, 19_999])
def test_only_batch_rate_average_and_shifts_change_in_a_long_run(name, num_train):
    recipe = with_settings(load_recipe(name), ["epochs=1000"])
    new, sentence = fitted(recipe, num_train, 64)
    expected = recipe.model_copy(
        update={
            "batch_size": new.batch_size, "ema": new.ema, "optim": recipe.optim.model_copy(update={"lr": new.optim.lr}),
            "augment": new.augment,
        }
    )  # fmt: skip
    assert new == expected
    assert 16 <= new.batch_size <= recipe.batch_size
    assert (sentence == "") == (new == recipe)
    assert fitted(recipe, num_train, 64) == (new, sentence)


def test_a_run_of_fewer_than_1000_steps_has_no_average():
    few = with_settings(PHOTOS, ["epochs=49"])  # of 20 steps each
    enough = with_settings(PHOTOS, ["epochs=50"])
    assert fitted(few, 640, 96)[0].ema == 0
    assert fitted(enough, 640, 96)[0].ema == PHOTOS.ema
    assert fitted(with_settings(few, ["ema=0"]), 1_280, 96)[1] == ""


def test_few_steps_on_photos_take_adamw_and_batches_of_32():
    few = with_settings(PHOTOS, ["epochs=18"])  # of 16 steps each
    recipe, sentence = fitted(few, 270, 96)
    assert (recipe.optim.name, recipe.optim.lr, recipe.optim.weight_decay) == ("adamw", 0.001, 0.05)
    assert (recipe.batch_size, recipe.ema) == (32, 0)
    assert "AdamW instead of SGD, which needs more than a run of only 288 steps" in sentence
    enough = with_settings(PHOTOS, ["epochs=19"])
    assert fitted(enough, 270, 96)[0].optim == PHOTOS.optim.model_copy(update={"lr": 0.05})
    assert fitted(few, 270, 40)[0].optim.name == "sgd"  # digits and other small grey images
    small = fitted(few, 270, 40, color=True)[0]
    assert (small.optim, small.batch_size) == (recipe.optim, 16)
    many = fitted(with_settings(PHOTOS, ["epochs=2"]), 5_000, 96)[0]
    assert (many.optim.name, many.batch_size) == ("adamw", 64)


def test_few_steps_leave_what_the_user_gives():
    few = with_settings(PHOTOS, ["optim.weight_decay=0"])
    assert fitted(few, 100, 96, given={"optim.weight_decay"})[0].optim == few.optim.model_copy(update={"lr": 0.05})
    small = with_settings(PHOTOS, ["batch_size=8"])
    recipe = fitted(small, 60, 96, given={"batch_size"})[0]
    assert (recipe.optim.name, recipe.batch_size) == ("adamw", 8)
    assert fitted(with_settings(PHOTOS, ["optim.name=adamw"]), 100, 96)[0].optim.lr == pytest.approx(0.1)


def photos_of(side: int, count: int, folder: Path) -> ImageSet:
    path = folder / f"{side}.png"
    Image.new("RGB", (side + 20, side)).save(path)
    ids = tuple(map(str, range(count)))
    return ImageSet(("a",), torch.zeros(count, dtype=torch.int64), ids, paths=(path,) * count)


@pytest.mark.parametrize(
    ("side", "count", "model", "size", "fitting_size"),
    [
        (300, 4_999, "resnet18", 224, 96), (300, 5_000, "resnet18", 224, 224), (80, 200, "resnet18", 224, 80),
        (64, 200, "resnet18", 64, 64), (48, 9_000, "resnet18", 48, 48), (300, 200, "resnet20_cifar", 64, 64),
    ],
)  # fmt: skip
def test_few_photos_from_scratch_are_trained_at_a_smaller_size(side, count, model, size, fitting_size, tmp_path):
    images, config = photos_of(side, count, tmp_path), create(model, device="meta").config
    assert natural_size(images, config) == size
    assert natural_size(images, config, fit=True) == fitting_size


def test_trained_weights_and_given_recipes_keep_the_size_of_the_network(tmp_path):
    write_photos(tmp_path, 4)
    for path in tmp_path.rglob("*.jpg"):
        Image.open(path).resize((120, 100)).save(path)
    assert resolve("resnet18", tmp_path).recipe.image_size == 96
    assert resolve("resnet18", tmp_path, recipe="photos").recipe.image_size == 224
    assert resolve("resnet18", tmp_path, settings=["model.weights=torchvision"]).recipe.image_size == 224
    assert resolve("resnet18", tmp_path, settings=["image_size=64"]).recipe.image_size == 64


def test_the_sentence_says_what_was_changed_and_why():
    _, sentence = fitted(PHOTOS, 648, 96)
    assert sentence == (
        "fitted to 648 training images of 96 pixels: batch_size is 32 instead of 64, for more steps an epoch; optim.lr "
        "is 0.1 instead of 0.2, for the smaller batch; ema is 0, because an average of the weights lags in a run of "
        "only 600 steps"
    )


def test_few_validation_images_choose_no_epoch():
    recipe, sentence = fitted(PHOTOS, 648, 96, num_val=72)
    assert recipe.best == "last"
    assert "the last epoch is kept, because 72 validation images can hardly tell which one is best" in sentence
    assert fitted(with_settings(PHOTOS, ["patience=3"]), 648, 96, num_val=72)[0].best == "accuracy"
    assert fitted(PHOTOS, 648, 96, num_val=500)[0].best == "accuracy"
    assert fitted(PHOTOS, 648, 96, num_val=72, given={"best"})[0].best == "accuracy"
    balanced = with_settings(PHOTOS, ["best=balanced_accuracy"])
    assert fitted(balanced, 648, 96, num_val=72)[0].best == "balanced_accuracy"


@pytest.mark.parametrize(("side", "padding"), [(8, 1), (12, 2), (28, 4), (32, 4), (40, 5)])
def test_small_images_are_shifted_by_an_eighth_of_their_side(side, padding):
    augment = fitted(SMALL, 5_000, side)[0].augment
    assert augment == SMALL.augment.model_copy(update={"padding": padding})
    assert fitted(SMALL, 5_000, side, given={"augment.padding"})[0].augment == SMALL.augment
    assert fitted(PHOTOS, 5_000, 96, color=True)[0].augment == PHOTOS.augment


def test_small_images_in_colour_are_mirrored_and_not_rotated():
    recipe, sentence = fitted(SMALL, 5_000, 32, color=True)
    assert (recipe.augment.flip, recipe.augment.rotate) == (True, 0)
    assert sentence == (
        "fitted to 5,000 training images of 32 pixels: images are shifted by up to 4 pixels; images in colour are "
        "mirrored and not rotated, because they are rarely digits or letters"
    )
    given = fitted(SMALL, 5_000, 32, color=True, given={"augment.flip", "augment.rotate"})[0]
    assert (given.augment.flip, given.augment.rotate) == (SMALL.augment.flip, SMALL.augment.rotate)


def test_colour_is_told_by_the_pixels():
    grey = torch.randint(0, 256, (6, 1, 8, 8), dtype=torch.uint8)
    saved_as_rgb, colourful = grey.expand(6, 3, 8, 8), torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8)
    for images, expected in ((grey, False), (saved_as_rgb, False), (colourful, True)):
        labels, ids = torch.zeros(6, dtype=torch.int64), tuple("abcdef")
        assert in_color(ImageSet(("a",), labels, ids, images=images)) == expected


def test_small_photos_are_mirrored_and_digits_are_not(tmp_path):
    write_photos(tmp_path, 8)
    for path in tmp_path.rglob("*.jpg"):
        Image.open(path).resize((32, 32)).save(path)
    plan = resolve("resnet20_cifar", tmp_path)
    assert (plan.recipe.augment.flip, plan.recipe.augment.padding) == (True, 4)
    digits = resolve("resnet20_cifar", "digits").recipe.augment
    assert digits == SMALL.augment


def test_a_broken_image_does_not_hide_the_colour_of_the_others(tmp_path):
    write_photos(tmp_path, 4)
    paths = sorted(tmp_path.rglob("*.jpg"))
    paths[0].write_bytes(b"no image")
    images = ImageSet(("a",), torch.zeros(len(paths), dtype=torch.int64), tuple(map(str, paths)), paths=tuple(paths))
    assert in_color(images)


@pytest.mark.parametrize(("optimizer", "lr"), [("sgd", 0.05), ("adamw", 0.1), ("muon", 0.1)])
def test_the_rate_is_in_proportion_to_the_batch_for_sgd_and_to_its_root_otherwise(optimizer, lr):
    recipe = with_settings(Recipe(), [f"optim.name={optimizer}", "optim.lr=0.2", "batch_size=64", "epochs=1000"])
    assert fitted(recipe, 100, 64)[0].optim.lr == pytest.approx(lr)


def test_a_smaller_batch_of_the_recipe_is_never_raised():
    assert fitted(with_settings(PHOTOS, ["batch_size=8"]), 100_000, 64)[0].batch_size == 8


def test_what_the_user_gives_is_left_and_the_rest_is_fitted_to_it():
    recipe = with_settings(LONG, ["batch_size=64"])
    assert fitted(recipe, 100, 96, given={"batch_size", "ema"}) == (recipe, "")
    with_rate = fitted(with_settings(PHOTOS, ["optim.lr=0.3"]), 100, 96, given={"optim.lr"})[0]
    assert (with_rate.batch_size, with_rate.optim.lr) == (16, 0.3)
    assert fitted(PHOTOS, 100, 96, given={"ema"})[0].ema == PHOTOS.ema


def test_only_a_chosen_recipe_is_fitted(photo_folder):
    plan = resolve("resnet20_cifar", photo_folder, settings=["data.val_fraction=0.2"])
    assert (plan.recipe.batch_size, plan.recipe.optim.name, plan.recipe.optim.lr) == (16, "adamw", 0.001)
    assert any(note.startswith("fitted to ") for note in plan.notes)
    assert resolve("resnet20_cifar", photo_folder, settings=["batch_size=24"]).recipe.batch_size == 24
    given = resolve("resnet20_cifar", photo_folder, recipe="photos")
    assert (given.recipe.batch_size, given.recipe.ema) == (PHOTOS.batch_size, PHOTOS.ema)
    assert not any(note.startswith("fitted to ") for note in given.notes)
