"""Write the two tables of docs/training.md: the shipped recipes, and every key of a recipe.

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
    "description": "What the recipe is for, in one sentence.",
    "epochs": "How many times to go through the training images.",
    "minutes": "The budget that `epochs` was fitted to. `train --minutes` fills it in.",
    "batch_size": "Images in an optimizer step, over all processes.",
    "accumulate": "Splits each batch into this many parts, for less memory.",
    "recompute": "Computes activations again instead of keeping them: less memory, more time, the same result.",
    "image_size": "Side in pixels. Unset: the images' own up to 64, else 96 for few photos, else the network's.",
    "seed": "Decides the first weights, the order of the images and their augmentation.",
    "precision": "Arithmetic of the forward pass; auto is bf16 if the hardware supports it, else fp16 on a GPU.",
    "compile": "Compiles the training step with torch.compile; auto does on one GPU, for long runs.",
    "ema": "Decay of a moving average of the weights; the average is then what is kept. 0: none.",
    "best": "Which epoch is kept: the best by this measure, on the validation images, or the last.",
    "patience": "Ends training after this many epochs without a better one. Unset: never. Not with best=last.",
    "flip_at_test": "Averages over each image and its mirror image in validation, test and prediction.",
    "workers": "Threads that prepare batches ahead of time.",
    "on_nan": "If the loss is not finite: stop, or go back to a checkpoint and continue at a quarter of the rate.",
    "model.name": "The network. `train` fills it in.",
    "model.weights": "Weights to start from, as with `--weights`. Empty: from scratch.",
    "model.switches": "Options of the network itself, such as `model.switches.dropout=0.2`.",
    "init.whiten": "The first convolution starts by decorrelating the pixels of the training images' patches.",
    "init.dirac": "The first filters of every later convolution start by passing on an input channel each.",
    "data.source": "The images. `train` fills it in.",
    "data.val_fraction": "Share for validation, if the source has no such part.",
    "data.test_fraction": "Share for testing, if the source has neither part.",
    "data.split_seed": "Decides which images go to which part.",
    "data.on_error": "If images cannot be decoded: stop before training, or leave them out.",
    "data.corrections": "A CSV file (path,action,label) that keeps, relabels or drops training and validation images.",
    "data.balance": "For classes of unequal size: sample each equally often, or weight the loss of small ones higher.",
    "data.refit": "Trains again at the end, on training and validation images, for as many epochs as were best.",
    "preprocess.resize": "crop: cut off what does not fit. squash: stretch the whole image. pad: black beside it.",
    "preprocess.crop_fraction": "Share of each side that the network sees, from the middle, above 0 and up to 1.",
    "preprocess.interpolation": "How images are resized; only nearest is without antialiasing.",
    "optim.name": "SGD, AdamW, or Muon for the trunk's kernels with AdamW for the rest.",
    "optim.lr": "Highest learning rate of the run.",
    "optim.momentum": "Momentum of SGD and Muon; the first beta of AdamW.",
    "optim.nesterov": "Nesterov momentum, for SGD and Muon.",
    "optim.weight_decay": "Applies to weights of two or more dimensions, never to biases and norms.",
    "optim.bias_lr": "Rate of biases, those of norms included, as a multiple of `optim.lr`.",
    "optim.clip_norm": "Clips the gradient's norm to this. Unset: never.",
    "schedule.name": "Rate after the warm-up: half a cosine, linear, divided by ten in steps, or constant.",
    "schedule.warmup": "Share of the run in which the rate rises from 0.",
    "schedule.final": "Final rate of cosine and one_cycle, as a share of `optim.lr`.",
    "schedule.milestones": "When step divides by ten, as shares of what follows the warm-up.",
    "loss.label_smoothing": "Share of the target that is spread over all classes.",
    "loss.aux_weight": "Weight of each auxiliary classifier of GoogLeNet.",
    "finetune.freeze": "Share of the run in which only the head learns. 1: all of it, on features computed once.",
    "finetune.unfreeze": "After that, release all stages at once, or one after the other from the head's side.",
    "finetune.layer_decay": "Rate of each stage, as a factor of the one after it.",
    "distill.teacher": "A run or a model folder to distill from. Empty: none.",
    "distill.weight": "Weight of the teacher's loss; the labels get the rest.",
    "distill.temperature": "Temperature that softens both distributions before they are compared.",
    "augment.crop": "pad: shift the image. resized: random area and aspect. jitter: random scale.",
    "augment.padding": "Largest shift of pad, in pixels.",
    "augment.scale": "Smallest and largest share of the whole picture's area that resized takes.",
    "augment.ratio": "Smallest and largest aspect, width by height, of the rectangle.",
    "augment.short_side": "Shorter side of the picture before jitter cuts its crop, as a multiple of the input's.",
    "augment.flip": "Mirrors half of the samples left to right.",
    "augment.flip_alternates": "With flip: mirrors each image in every other epoch instead of at random.",
    "augment.rotate": "Largest rotation either way, in degrees.",
    "augment.jitter": "Largest change of brightness and contrast, as a share.",
    "augment.policy": "TrivialAugment or RandAugment.",
    "augment.policy_operations": "Operations that rand applies to an image.",
    "augment.policy_magnitude": "Strength of these operations, 0 to 30.",
    "augment.erase": "Share of the samples in which a rectangle is set to the image's mean.",
    "augment.erase_scale": "Smallest and largest share of the area of that rectangle.",
    "augment.erase_ratio": "Smallest and largest aspect of that rectangle.",
    "augment.mixup": "Alpha of mixup, which blends two images. 0: none.",
    "augment.cutmix": "Alpha of cutmix, which pastes a rectangle of one image into another. 0: none.",
    "augment.mix_probability": "Share of the samples that are mixed.",
    "progressive.start": "Image size of the first epoch, as a share of `image_size`. 1: full size throughout.",
    "progressive.until": "Share of the run after which images have their full size.",
}


def keys_table() -> list[str]:
    """Return a row for each key: its default, its other values, and its meaning."""
    lines = ["| Key | Default | Other values | Meaning |", "| --- | --- | --- | --- |"]
    for key, field in all_keys().items():
        default = "unset" if field.default is None else f"`{_toml(field.default)}`"
        words = [_word(word) for word in get_args(field.annotation) if isinstance(word, str | bool)]
        words = [word for word in words if word != _word(field.default)]
        lines.append(f"| `{key}` | {default} | {', '.join(words)} | {MEANINGS[key]} |")
    return lines


def recipes_table() -> list[str]:
    """Return a row for each shipped recipe."""
    lines = ["| Recipe | For | Epochs | Batch | Optimizer and rate |", "| --- | --- | ---: | ---: | --- |"]
    for name in shipped_recipes():
        recipe = load_recipe(name)
        optimizer = f"{recipe.optim.name} {recipe.optim.lr:g}, {recipe.schedule.name}"
        lines.append(f"| `{name}` | {recipe.description} | {recipe.epochs} | {recipe.batch_size} | {optimizer} |")
    return lines


def page() -> str:
    """Return the text of docs/training.md with both tables up to date."""
    text = PAGE.read_text(encoding="utf-8")
    for name, table in (("recipes", recipes_table()), ("keys", keys_table())):
        begin, end = f"<!-- {name}: benchmarks/recipe_tables.py -->\n", f"<!-- end of {name} -->\n"
        block = "".join((begin, "\n", *(f"{line}\n" for line in table), "\n", end))
        text, found = re.subn(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _, block=block: block, text, flags=re.S)
        assert found == 1, f"{PAGE} has no place for the table of {name}"
    return text


def _word(value: Any) -> str:
    return value if isinstance(value, str) else _toml(value)


def _toml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    assert MEANINGS.keys() == all_keys().keys(), MEANINGS.keys() ^ all_keys().keys()
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{len(MEANINGS)} keys, {len(shipped_recipes())} recipes -> {PAGE}")
