"""Draw docs/images/six-networks.png: a network of each family, stage by stage, from what `inspect` counts.

python benchmarks/six_networks.py
"""

from __future__ import annotations

import math
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Polygon

import classicnets as cn
from classicnets.analysis.summary import Summary
from classicnets.models.facts import FACTS
from classicnets.reports.canvas import LIGHT, Colour, new_figure, png, write_title

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "six-networks.png"
NETWORKS = {
    "alexnet": "AlexNet",
    "vgg16": "VGG-16",
    "nin": "NiN",
    "googlenet": "GoogLeNet",
    "resnet50": "ResNet-50",
    "densenet121": "DenseNet-121",
}
DEPTH = 0.34  # of a map's height and width, as seen from the side
SPACE = 17.0  # between a row's tallest block and the numbers above it


def shade(share: float) -> Colour:
    """A blue that is darker the larger the share of the multiply-adds, 0..1."""
    return mixed(LIGHT.right, 0.12 + 0.88 * min(1.0, share / 0.4))


def mixed(colour: str | Colour, strength: float) -> Colour:
    """The colour on white paper: at 1 as it is, at 0 white."""
    red, green, blue = (1 - strength * (1 - value) for value in to_rgb(colour))
    return red, green, blue, 1.0


def block(axes: Axes, left: float, low: float, width: float, height: float, colour: Colour) -> None:
    """Draw a box: its front is `width` x `height`, and its depth is that of a square map."""
    depth, up = DEPTH * height, 0.6 * DEPTH * height
    right, high = left + width, low + height
    front = [(left, low), (right, low), (right, high), (left, high)]
    top = [(left, high), (right, high), (right + depth, high + up), (left + depth, high + up)]
    side = [(right, low), (right, high), (right + depth, high + up), (right + depth, low + up)]
    for corners, strength in ((front, 1.0), (top, 0.6), (side, 0.8)):
        face = mixed(colour, strength)
        axes.add_patch(Polygon(corners, facecolor=face, edgecolor=LIGHT.paper, linewidth=0.7, joinstyle="round"))


def draw(axes: Axes, summary: Summary, ground: float) -> None:
    """Draw the trunk's stages that multiply: height is the root of the map's side, width that of the channels."""
    left = 0.0
    for stage in summary.stages:
        if not stage.macs or len(stage.output) != 3:
            continue
        channels, side, _ = stage.output
        width, height = math.sqrt(channels) * 0.62, math.sqrt(side) * 2.2
        block(axes, left, ground, width, height, shade(stage.macs / summary.macs))
        style = {"ha": "center", "va": "top", "fontsize": 7, "color": LIGHT.faint}
        axes.text(left + width / 2, ground - 1.5, f"{side}", **style)
        axes.text(left + width / 2, ground - 6.0, f"{channels}", **style)
        left += width + max(5.0, DEPTH * height + 2.0)


def main() -> None:
    figure = new_figure((10, 8.5), LIGHT)
    axes = figure.add_axes((0, 0, 1, 0.92))
    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.set_anchor("NW")
    ground = SPACE - 8
    for name, title in NETWORKS.items():
        summary = cn.inspect(name, image_size=224)
        ground -= SPACE + math.sqrt(summary.stages[0].output[1]) * 2.2 * (1 + 0.6 * DEPTH)
        draw(axes, summary, ground)
        style = {"ha": "left", "va": "bottom", "fontsize": 9, "color": LIGHT.faint}
        axes.text(-73, ground + 10, title, **{**style, "fontsize": 13, "weight": "bold", "color": LIGHT.ink})
        axes.text(-73, ground + 4, f"{FACTS[name]['year']}, {summary.parameters / 1e6:.1f} M parameters", **style)
        axes.text(-73, ground - 1.5, f"{summary.macs / 1e9:.2f} G multiply-adds", **style)
    axes.set_xlim(-77, 214)
    axes.set_ylim(ground - 13, 0)
    write_title(
        figure,
        "Six networks, stage by stage",
        "Below each stage the side and the number of its maps, for images of 224 pixels. Darker: more multiply-adds.",
        LIGHT,
    )
    PICTURE.write_bytes(png(figure))
    print(PICTURE)


if __name__ == "__main__":
    main()
