"""Writes the two tables of docs/training.md: the shipped recipes, and every key of a recipe.

python benchmarks/recipe_tables.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

from classicnets.training import load_recipe, shipped_recipes
from classicnets.training.recipe.schema import all_keys

PAGE = Path(__file__).parents[1] / "docs" / "training.md"

MEANINGS = {
    "description": "A sentence on what the recipe is for.",
    "epochs": "How many times to go through the training images.",
    "batch_size": "Images in an optimizer step, of all processes together.",
    "accumulate": "A batch goes through in so many parts, for less memory.",
    "recompute": "Computes activations again instead of keeping them: less memory, more time, the same result.",
    "image_size": "The side in pixels. Unset: the images' own up to 64, else the network's.",
    "seed": "Decides the first weights, the order of the images and their augmentation.",
    "precision": "The arithmetic of the forward pass; auto is bf16 where the hardware has it.",
    "ema": "The decay of a moving average of the weights, which is then what is kept. 0: none.",
    "best": "Which epoch is kept: the best by this, on the validation images.",
    "patience": "Ends after so many epochs without a better one. Unset: never.",
    "flip_at_test": "Validation, test and prediction average over each image and its mirror image.",
    "workers": "Threads that make batches ahead of time.",
    "on_nan": "Where the loss is not finite: stop, or go back to a checkpoint and on at a quarter of the rate.",
    "model.name": "The network. `train` fills it in.",
    "model.weights": "What to start from, as with `--weights`. Empty: from scratch.",
    "model.switches": "Options of the network itself, such as `model.switches.dropout=0.2`.",
    "data.source": "The images. `train` fills it in.",
    "data.val_fraction": "The share for validation, where the source has no such part.",
    "data.test_fraction": "The share for testing, where the source has neither part.",
    "data.split_seed": "Decides which images these are.",
    "data.on_error": "Of images that cannot be decoded: stop before training, or go on without.",
    "data.balance": "Classes of unequal size: show each equally often, or let an image of a small one count more.",
    "optim.name": "SGD, AdamW, or Muon for the trunk's kernels with AdamW for the rest.",
    "optim.lr": "The highest learning rate of the run.",
    "optim.momentum": "Of SGD and Muon; the first beta of AdamW.",
    "optim.nesterov": "Nesterov's momentum, for SGD and Muon.",
    "optim.weight_decay": "For weights of two or more dimensions: never for biases and norms.",
    "optim.clip_norm": "The gradient's norm is cut to this. Unset: never.",
    "schedule.name": "The rate after the warm-up: half a cosine, a line, steps down by ten, or level.",
    "schedule.warmup": "The share of the run in which the rate rises from 0.",
    "schedule.final": "Where cosine and one_cycle end, as a share of `optim.lr`.",
    "schedule.milestones": "Where step divides by ten, as shares of what follows the warm-up.",
    "loss.label_smoothing": "How much of the target goes to all classes evenly.",
    "loss.aux_weight": "How much each auxiliary classifier of GoogLeNet counts.",
    "finetune.freeze": "The share of the run in which only the head learns. 1: all of it, from features computed once.",
    "finetune.unfreeze": "After that, all stages at once, or one after the other from the head's side.",
    "finetune.layer_decay": "Each stage learns at this times the rate of the one after it.",
    "distill.teacher": "A run or a model folder to learn from too. Empty: none.",
    "distill.weight": "How much the teacher counts; the labels get the rest.",
    "distill.temperature": "How far both answers are softened before they are compared.",
    "augment.crop": "pad: a shift. resized: a rectangle of random area and aspect, brought to size.",
    "augment.padding": "How many pixels pad may shift by.",
    "augment.scale": "From and to: the share of the area that resized takes.",
    "augment.ratio": "From and to: the aspect, width by height, of what it takes.",
    "augment.flip": "Mirrors half of the samples left to right.",
    "augment.rotate": "Up to so many degrees either way.",
    "augment.jitter": "Brightness and contrast change by up to this share.",
    "augment.policy": "TrivialAugment or RandAugment.",
    "augment.policy_operations": "How many operations rand does to an image.",
    "augment.policy_magnitude": "How strong they are, 0 to 30.",
    "augment.erase": "The share of the samples in which a rectangle is set to the image's mean.",
    "augment.erase_scale": "From and to: the rectangle's share of the area.",
    "augment.erase_ratio": "From and to: its aspect.",
    "augment.mixup": "The alpha of mixup, which lays one image over another. 0: none.",
    "augment.cutmix": "The alpha of cutmix, which puts a rectangle of one image into another. 0: none.",
    "augment.mix_probability": "The share of the samples that are mixed at all.",
    "progressive.start": "The first epoch's image size, as a share of `image_size`. 1: full size throughout.",
    "progressive.until": "The share of the run after which images have their full size.",
}


def keys_table() -> list[str]:
    """A row for each key: its default, the other words that it takes, and what it means."""
    lines = ["| Key | Default | Or | What it is |", "| --- | --- | --- | --- |"]
    for key, field in all_keys().items():
        default = "unset" if field.default is None else f"`{_toml(field.default)}`"
        words = [word for word in get_args(field.annotation) if isinstance(word, str) and word != field.default]
        lines.append(f"| `{key}` | {default} | {', '.join(words)} | {MEANINGS[key]} |")
    return lines


def recipes_table() -> list[str]:
    """A row for each shipped recipe."""
    lines = ["| Recipe | For | Epochs | Batch | Optimizer and rate |", "| --- | --- | ---: | ---: | --- |"]
    for name in shipped_recipes():
        recipe = load_recipe(name)
        optimizer = f"{recipe.optim.name} {recipe.optim.lr:g}, {recipe.schedule.name}"
        lines.append(f"| `{name}` | {recipe.description} | {recipe.epochs} | {recipe.batch_size} | {optimizer} |")
    return lines


def page() -> str:
    """The text of docs/training.md, with both tables as they are now."""
    text = PAGE.read_text(encoding="utf-8")
    for name, table in (("recipes", recipes_table()), ("keys", keys_table())):
        begin, end = f"<!-- {name}: benchmarks/recipe_tables.py -->\n", f"<!-- end of {name} -->\n"
        block = "".join((begin, "\n", *(f"{line}\n" for line in table), "\n", end))
        text, found = re.subn(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _, block=block: block, text, flags=re.S)
        assert found == 1, f"{PAGE} has no place for the table of {name}"
    return text


def _toml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    assert MEANINGS.keys() == all_keys().keys(), MEANINGS.keys() ^ all_keys().keys()
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{len(MEANINGS)} keys, {len(shipped_recipes())} recipes -> {PAGE}")
