"""From data to a classifier, in Python: train, read the report, load the classifier, predict.

python examples/train_and_predict.py
"""

import tempfile
from pathlib import Path

import torch

import classicnets as cn

with tempfile.TemporaryDirectory() as folder:
    data = cn.load_data("digits")
    print(f"{data.name}: {len(data.train)} training images, {data.split}")

    run = cn.train("resnet20_cifar", data, epochs=4, out=Path(folder) / "run")
    print(f"top-1 on {run.report.num_images} test images: {run.report.top1:.1%}, interval {run.report.top1_interval}")

    classifier = cn.load(run.path)
    image, label = data.test.image(0), int(data.test.labels[0])
    answer = classifier.predict(image, top_k=3)
    print(f"truth {data.classes[label]}, predicted {answer.label} with score {answer.score:.2f}")

    logits = classifier.logits(torch.stack([classifier.preprocess.geometry(image)]))
    print(f"logits {tuple(logits.shape)}")
