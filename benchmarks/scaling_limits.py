"""What the processes of a training send each other in a step, beside what they compute. Counted, not timed.

python benchmarks/scaling_limits.py
"""

from __future__ import annotations

from report import write_results
from torch import nn

from classicnets.models.catalog import create
from classicnets.models.facts import FACTS, human

MODELS = ("alexnet", "vgg16", "nin", "googlenet_bn", "resnet18", "resnet50", "densenet121", "resnet20_cifar")
IMAGES = 32  # of a process and a step


def main() -> None:
    rows = []
    for name in MODELS:
        facts, model = FACTS[name], create(name, device="meta")
        norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
        statistics = 4 * sum(2 * norm.num_features + 1 + 2 * norm.num_features for norm in norms)
        gradients = 4 * facts["params"]
        computed = 3 * facts["macs"] * IMAGES
        rows.append(
            (
                name,
                f"{gradients / 2**20:,.1f}",
                2 * len(norms),
                f"{statistics / 2**10:,.0f}",
                human(computed),
                f"{gradients / (computed / 1e9):,.0f}",
            )
        )
    write_results(
        "scaling_limits",
        f"Several processes: what is sent and what is computed in a step, {IMAGES} images a process",
        ("model", "gradients, MiB", "batch-norm messages", "of together, KiB", "MACs", "gradient bytes per GMAC"),
        rows,
        notes=(
            "Counted on the models at their papers' image sizes: fp32 gradients of all parameters; two messages for "
            "each batch norm, its statistics forward and two sums backward; three times the multiply-adds of the "
            "forward pass.",
        ),
    )


if __name__ == "__main__":
    main()
