"""The whole way on the command line: train a classifier, measure it, and use it on images that it never saw.

    python examples/demo.py

Trains on Fashion-MNIST. If that cannot be found, it uses the handwritten digits that come with scikit-learn.
"""

import subprocess
import sys
from pathlib import Path

from PIL import Image

import classicnets as cn


def classicnets(*arguments: str) -> None:
    """Print a command as you would type it, and run it."""
    print(f"\n$ classicnets {' '.join(arguments)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "classicnets", *arguments], check=False)
    if done.returncode:
        sys.exit(done.returncode)  # the command has said why


def free_folder(path: Path) -> Path:
    """Return the path, with the first free number appended if it exists."""
    numbered = (path.with_name(f"{path.name}-{number}") for number in range(2, 10_000))
    return path if not path.exists() else next(p for p in numbered if not p.exists())


try:
    data = cn.load_data("fashion-mnist")
    epochs = ("--epochs", "4")  # a few minutes on two cores; the recipe's own number reaches more
except cn.ClassicNetsError as error:
    print(f"No Fashion-MNIST here, so this runs on the small data set `digits` instead.\n{error}")
    data = cn.load_data("digits")
    epochs = ()
run = free_folder(Path("runs") / f"demo-{data.name}")

classicnets("train", "resnet20_cifar", data.name, *epochs, "--out", str(run))
classicnets("evaluate", str(run))

images = run / "test-images"
images.mkdir()
for i in range(5):
    name = data.classes[int(data.test.labels[i])].replace("/", "-")
    Image.fromarray(data.test.image(i)[0].numpy()).save(images / f"{i} {name}.png")
print(f"\n{images} now has five test images; their names say what they show.")
classicnets("predict", str(run), str(images), "--top-k", "2")

print(f"\nThe report, to open in a browser: {(run / 'report.html').resolve()}")
