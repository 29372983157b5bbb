"""Peak memory of an integrated-gradients map of DenseNet-201 at 224 x 224, with and without flip averaging.

Run it with `python benchmarks/explain_memory.py`; it needs the extra `explain`. Each line is a process of its own.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time

LIMIT = 2048  # MiB


def measure(tta: str) -> None:
    """Print the peak memory of this process after one map."""
    import torch

    from classicnets.classifier import Classifier
    from classicnets.explanation import explain
    from classicnets.models.catalog import create
    from classicnets.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess

    generator = torch.Generator().manual_seed(0)
    classifier = Classifier(
        model=create("densenet201", num_classes=10, generator=generator).eval(),
        model_name="densenet201",
        classes=tuple("abcdefghij"),
        preprocess=Preprocess(input_size=(224, 224), mean=IMAGENET_MEAN, std=IMAGENET_STD),
        tta="flip" if tta == "flip" else "none",
    )
    image = torch.randint(0, 256, (3, 224, 224), dtype=torch.uint8, generator=generator)
    before = time.perf_counter()
    explain(classifier, image, method="integrated-gradients", verdict=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"tta={tta}: {peak:,.0f} MiB, {time.perf_counter() - before:.0f} s", flush=True)
    if peak > LIMIT:
        sys.exit(f"More than {LIMIT:,} MiB.")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(sys.argv[1])
    else:
        for tta in ("none", "flip"):
            subprocess.run([sys.executable, __file__, tta], check=True)
