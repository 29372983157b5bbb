"""The loss: weighted by class, softened by a teacher, and the same whether a batch comes whole or in parts."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from classicnets.models.catalog import create
from classicnets.training.recipe.schema import LossSection
from classicnets.training.step.objective import class_weights, objective

LABELS = torch.tensor([0, 0, 0, 1, 2, 0])
LOGITS = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
SMOOTH = LossSection(label_smoothing=0.1)


def loss(logits, targets, recipe=SMOOTH, **options):
    return objective(nn.Identity(), logits, targets, recipe, **options).loss.item()


def test_class_weights_are_inverse_to_frequency_and_one_on_average():
    weights = class_weights(LABELS, 3)
    assert weights.tolist() == pytest.approx([0.5, 2, 2])
    assert weights[LABELS].mean().item() == pytest.approx(1)
    assert class_weights(LABELS, 4).tolist() == pytest.approx([0.5, 2, 2, 0])


def test_without_weights_it_is_the_mean_cross_entropy():
    assert loss(LOGITS, LABELS) == pytest.approx(F.cross_entropy(LOGITS, LABELS, label_smoothing=0.1).item())


def test_each_image_counts_as_its_class_does():
    each = F.cross_entropy(LOGITS, LABELS, reduction="none")
    expected = (each * torch.tensor([0.5, 2, 2])[LABELS]).mean().item()
    weights = class_weights(LABELS, 3)
    assert loss(LOGITS, LABELS, LossSection(), class_weights=weights) == pytest.approx(expected)


@pytest.mark.parametrize("weights", [None, class_weights(LABELS, 3)])
@pytest.mark.parametrize("mixed", [False, True])
def test_equal_parts_average_to_the_whole(weights, mixed):
    targets = 0.7 * F.one_hot(LABELS, 3).float() + 0.3 * F.one_hot(LABELS.flip(0), 3) if mixed else LABELS
    whole = loss(LOGITS, targets, class_weights=weights)
    halves = [loss(LOGITS[part], targets[part], class_weights=weights) for part in (slice(0, 3), slice(3, 6))]
    assert whole == pytest.approx(sum(halves) / 2)


def test_labels_and_certain_probabilities_are_the_same_targets():
    certain, weights = F.one_hot(LABELS, 3).float(), class_weights(LABELS, 3)
    assert loss(LOGITS, LABELS, class_weights=weights) == pytest.approx(loss(LOGITS, certain, class_weights=weights))


def test_auxiliary_classifiers_add_their_share():
    model = create("googlenet", num_classes=3, aux=True, width=0.1, generator=torch.Generator().manual_seed(0)).eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    outputs = model.forward_with_aux(images)
    main, first, second = (F.cross_entropy(logits, LABELS[2:4]).item() for logits in outputs)
    found = objective(model, images, LABELS[2:4], LossSection(aux_weight=0.25))
    assert found.loss.item() == pytest.approx(main + 0.25 * (first + second), rel=1e-5)
    assert torch.equal(found.logits, outputs.logits)
