"""A teacher answers on the student's own images as it would on its own, and only where its classes are the same."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from classicnets.classifier import Classifier
from classicnets.errors import ConfigError, WeightsError
from classicnets.models.catalog import create
from classicnets.preprocess import Preprocess
from classicnets.training.recipe.schema import DistillSection, LossSection
from classicnets.training.step.objective import objective
from classicnets.training.transfer.distill import Teacher

CPU = torch.device("cpu")
STUDENT = Preprocess(input_size=(16, 16), mean=(0.2,), std=(0.25,))


def saved(folder, *, size=16, channels=1, classes=("a", "b", "c")):
    preprocess = Preprocess(input_size=(size, size), mean=(0.5,) * channels, std=(0.1,) * channels)
    model = create(
        "resnet20_cifar", num_classes=len(classes), in_channels=channels, depths=(1, 1, 1), widths=(4, 4, 4),
        generator=torch.Generator().manual_seed(3),
    )  # fmt: skip
    teacher = Classifier(model=model, model_name="resnet20_cifar", classes=classes, preprocess=preprocess)
    teacher.save(folder)
    return teacher


def teach(folder, classes=("a", "b", "c"), preprocess=STUDENT, **values):
    return Teacher(DistillSection(teacher=str(folder), **values), classes, preprocess, CPU)


@pytest.mark.parametrize("channels", [1, 3])
def test_its_own_normalisation_channels_and_order_of_classes(tmp_path, channels):
    teacher = saved(tmp_path / "t", channels=channels)
    images = torch.randint(0, 256, (5, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = teacher.logits(teacher.preprocess.geometry(images))
    found = teach(tmp_path / "t", classes=("c", "a", "b")).logits(STUDENT.normalize(images))
    assert torch.allclose(found, expected[:, [2, 0, 1]], atol=1e-4)
    assert not found.requires_grad


def test_images_of_another_size_are_brought_to_its_own(tmp_path):
    teacher = saved(tmp_path / "t", size=32)
    seen = []
    taught = teach(tmp_path / "t")
    taught.classifier.model.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape))
    assert taught.logits(torch.zeros(2, 1, 16, 16)).shape == (2, 3)
    assert seen == [(2, 1, *teacher.preprocess.input_size)]


def test_the_loss_is_the_papers(tmp_path):
    saved(tmp_path / "t")
    teacher = teach(tmp_path / "t", weight=0.3, temperature=2.0)
    images, labels = torch.randn(4, 1, 16, 16), torch.tensor([0, 1, 2, 0])
    student = create("resnet20_cifar", num_classes=3, in_channels=1, depths=(1, 1, 1), widths=(4, 4, 4)).eval()
    logits = student(images)
    p, q = (teacher.logits(images) / 2).softmax(1), (logits / 2).softmax(1)
    divergence = 4 * (p * (p.log() - q.log())).sum(1).mean()
    expected = 0.7 * F.cross_entropy(logits, labels) + 0.3 * divergence
    found = objective(student, images, labels, LossSection(), teacher=teacher)
    assert found.loss.item() == pytest.approx(expected.item(), rel=1e-4)


def test_learning_from_the_teacher_alone_makes_the_student_answer_alike(tmp_path):
    saved(tmp_path / "t")
    teacher = teach(tmp_path / "t", weight=1, temperature=1)
    images = torch.randn(8, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    student = nn.Sequential(nn.Flatten(), nn.Linear(256, 3))
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05)
    losses = []
    for _ in range(60):
        loss = objective(student, images, torch.zeros(8, dtype=torch.int64), LossSection(), teacher=teacher).loss
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0] / 10
    assert all(p.grad is None for p in teacher.classifier.model.parameters())


def test_a_teacher_that_cannot_teach_is_refused(tmp_path):
    saved(tmp_path / "t", channels=3)
    with pytest.raises(ConfigError, match=r"Only the data has: 'd'\. Only the teacher has: 'c'"):
        teach(tmp_path / "t", classes=("a", "b", "d"))
    with pytest.raises(ConfigError, match="Only the teacher has: none"):
        teach(tmp_path / "t", classes=("a", "b", "c", "d"))
    saved(tmp_path / "grey")
    with pytest.raises(ConfigError, match="takes images with 1 channels, but the student's have 3"):
        teach(tmp_path / "grey", preprocess=Preprocess(input_size=(16, 16), mean=(0.2,) * 3, std=(0.25,) * 3))
    with pytest.raises(WeightsError):
        teach(tmp_path / "nowhere")
