"""Recipes: strict, complete, and the same after a trip through their file."""

import re
import runpy
import shlex
import tomllib
from pathlib import Path

import pytest

import classicnets
from classicnets.errors import ConfigError, UnknownName
from classicnets.models.facts import list_models
from classicnets.training.recipe.choose import choose_recipe
from classicnets.training.recipe.files import load_recipe, parse_recipe, recipe_facts, shipped_recipes, with_settings
from classicnets.training.recipe.schema import ModelSection, Recipe, all_keys, flat

SMALL_IMAGE_FAMILIES = ("alexnet", "vgg", "nin", "googlenet", "densenet")  # ResNet's is the plain small-images


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_loads_says_its_command_and_survives_its_own_toml(name):
    recipe = load_recipe(name)
    assert recipe.description
    facts = recipe_facts(name)
    command = shlex.split(facts["command"])
    assert command[:2] == ["classicnets", "train"]
    assert command[2] in list_models()
    if name.startswith(("imagenet-", "cifar10-")):
        assert facts.keys() == {"command", "hardware", "minutes", "accuracy"}
        assert command[-2:] == ["--recipe", name]
        assert "not run here" in facts["accuracy"]
    assert parse_recipe(recipe.to_toml(), name) == recipe


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_leaves_the_split_as_it_is(name):
    assert load_recipe(name).data == Recipe().data


def test_toml_holds_names_that_need_quoting():
    recipe = with_settings(Recipe(), ['data.source="C:\\\\Bilder\\n\\"Käse\\" 图片"', "image_size=28"])
    assert recipe.data.source == 'C:\\Bilder\n"Käse" 图片'
    assert parse_recipe(recipe.to_toml(), "x") == recipe


def test_toml_has_every_key_in_order_and_is_read_back_equal_whatever_the_switches():
    recipe = with_settings(Recipe(), ["model.switches.depths=[1, 2]", "patience=2"])
    switches = {**recipe.model.switches, "a b": {"c": [0.5, True]}}
    recipe = recipe.model_copy(update={"model": ModelSection(switches=switches)})
    assert parse_recipe(recipe.to_toml(), "x") == recipe
    written = flat(tomllib.loads(recipe.to_toml()))
    assert {written.pop("model.switches.depths")[1], *written.pop("model.switches.a b.c")} == {2, 0.5, True}
    unset = ("minutes", "image_size", "optim.clip_norm", "model.switches")
    assert list(written) == [key for key in all_keys() if key not in unset]


def test_switches_are_kept_as_their_file_says_them_and_refused_if_no_file_can():
    recipe = Recipe(model=ModelSection(switches={"depths": (1, 1)}))
    assert parse_recipe(recipe.to_toml(), "x") == recipe
    with pytest.raises(ValueError, match="must hold only values that TOML has"):
        ModelSection(switches={"activation": None})


@pytest.mark.parametrize("state", ["finished", "stopped"])
def test_a_recipe_written_by_0_1_0_is_read_and_new_keys_have_their_defaults(state):
    text = (Path(__file__).parents[2] / "golden" / "0.1.0" / state / "recipe.toml").read_text("utf-8")
    recipe = parse_recipe(text, "golden")
    old = flat(tomllib.loads(text))
    expected = flat(Recipe().model_dump(mode="json", exclude_none=True)) | old
    assert flat(recipe.model_dump(mode="json", exclude_none=True)) == expected
    assert parse_recipe(recipe.to_toml(), "again") == recipe


@pytest.mark.parametrize("key", all_keys())
def test_every_key_has_a_default_so_that_a_new_one_leaves_older_recipes_readable(key):
    assert not all_keys()[key].is_required()


@pytest.mark.parametrize("text", ["[optim]\nlr_head = 1", "[optim]\nname = 'lion'", "[new]\nkey = 1"])
def test_what_a_newer_version_may_have_written_is_refused_with_a_hint(text):
    with pytest.raises((UnknownName, ConfigError)) as caught:
        parse_recipe(text, "runs/x/recipe.toml")
    hint = f"If a newer version than {classicnets.__version__} wrote it (see the run's environment.json), update."
    assert str(caught.value).startswith("runs/x/recipe.toml: ")
    assert str(caught.value).endswith(hint)
    with pytest.raises(ConfigError) as caught:
        parse_recipe("epochs = 0", "runs/x/recipe.toml")
    assert "newer" not in str(caught.value)


def test_a_key_without_its_section_is_recognised():
    with pytest.raises(UnknownName, match=r"unknown key lr; did you mean optim\.lr\?"):
        with_settings(Recipe(), ["lr=0.1"])
    with pytest.raises(UnknownName, match=r"did you mean model\.name, optim\.name, schedule\.name\?"):
        with_settings(Recipe(), ["name=x"])


def test_flat_gives_dotted_keys():
    assert flat({"a": 1, "b": {"c": 2, "d": {"e": [3]}, "f": {}}}) == {"a": 1, "b.c": 2, "b.d.e": [3]}


def test_settings_change_single_values_and_read_toml_or_bare_words():
    recipe = with_settings(
        Recipe(), ["optim.lr=0.2", "optim.name=adamw", "augment.flip=true", "schedule.milestones=[0.3]", "epochs=3"]
    )
    assert (recipe.optim.lr, recipe.optim.name, recipe.augment.flip, recipe.epochs) == (0.2, "adamw", True, 3)
    assert recipe.schedule.milestones == (0.3,)
    assert recipe.loss == Recipe().loss


def test_switches_of_the_model_are_free_names():
    assert with_settings(Recipe(), ["model.switches.activation=tanh"]).model.switches == {"activation": "tanh"}


@pytest.mark.parametrize(
    ("setting", "error", "said"),
    [
        ("optim.lrate=0.1", UnknownName, "did you mean optim.lr?"),
        ("epoch=3", UnknownName, "did you mean epochs?"),
        ("epochs=0", ConfigError, "epochs = 0"),
        ("optim.lr=fast", ConfigError, "optim.lr = 'fast'"),
        ("optim.lr", ConfigError, "write key=value"),
        ("epochs.more=1", UnknownName, "'epochs' is a value"),
        ("augment.crop=random", ConfigError, "augment.crop"),
        ("seed=-1", ConfigError, "seed"),
        ("optim.lr=inf", ConfigError, "optim.lr"),
    ],
)
def test_a_wrong_setting_is_refused_with_a_hint(setting, error, said):
    with pytest.raises(error, match=None) as caught:
        with_settings(Recipe(), [setting])
    assert said in str(caught.value)


def test_a_wrong_file_is_refused_with_its_name(tmp_path):
    with pytest.raises(UnknownName, match="small-images"):
        load_recipe("smal-images")
    with pytest.raises(ConfigError, match="cannot read"):
        load_recipe(tmp_path / "missing.toml")
    (tmp_path / "broken.toml").write_text("epochs = = 3")
    with pytest.raises(ConfigError, match=r"broken\.toml: not valid TOML"):
        load_recipe(tmp_path / "broken.toml")
    (tmp_path / "strange.toml").write_text("[optim]\nlrate = 3")
    with pytest.raises(UnknownName, match=r"strange\.toml: unknown key optim\.lrate; did you mean optim\.lr"):
        load_recipe(tmp_path / "strange.toml")


def test_none_unsets_what_need_not_be_set_and_is_a_word_elsewhere():
    recipe = with_settings(Recipe(), ["optim.clip_norm=1", "patience=3", "augment.crop=pad"])
    assert with_settings(recipe, ["optim.clip_norm=none", "patience=none", "augment.crop=none"]) == Recipe()


def test_a_range_that_goes_down_is_refused():
    with pytest.raises(ConfigError, match=r"augment\.scale.*must not be above"):
        with_settings(Recipe(), ["augment.scale=[1.0, 0.3]"])


@pytest.mark.parametrize(
    ("num_train", "image_size", "family", "batch_norm", "pretrained", "expected"),
    [
        (57_000, 28, "resnet", True, False, "small-images"),
        (1_600, 64, "resnet", True, False, "photos"),
        (1_500, 8, "resnet", True, False, "small-set"),
        (57_000, 28, "vgg", False, False, "no-batch-norm"),
        (1_600, 64, "vgg", True, True, "finetune"),
        *((57_000, 28, family, True, False, f"small-images-{family}") for family in SMALL_IMAGE_FAMILIES),
    ],
)
def test_the_choice_of_a_recipe_is_one_that_is_shipped_and_gives_a_reason(
    num_train: int, image_size: int, family: str, batch_norm: bool, pretrained: bool, expected: str
):
    name, reason = choose_recipe(
        num_train=num_train, image_size=image_size, family=family, batch_norm=batch_norm, pretrained=pretrained
    )
    assert name == expected
    assert name in shipped_recipes()
    assert f"{num_train:,}" in reason


def test_the_training_guide_has_every_recipe_and_every_key_as_they_are():
    root = Path(__file__).parents[3]
    tables = runpy.run_path(str(root / "benchmarks" / "recipe_tables.py"))
    assert list(all_keys()) == list(tables["MEANINGS"]), "a key is new, or gone: say what it means"
    assert (root / "docs" / "training.md").read_text(encoding="utf-8") == tables["page"](), "run `make facts`"


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md", "docs/training.md", "docs/scaling.md"])
def test_the_settings_in_the_pages_exist(page):
    text = (Path(__file__).parents[3] / page).read_text(encoding="utf-8")
    for setting in re.findall(r"--set ([a-z_.]+=[^\s`,)]+)", text):
        with_settings(Recipe(), [setting.rstrip(".")])
    for name in re.findall(r"--recipe ([a-z0-9-]+)(?= |\n|`)", text):
        load_recipe(name)
