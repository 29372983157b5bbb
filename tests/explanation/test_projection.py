"""Features on a plane: PCA against its definition, t-SNE where there is enough to arrange."""

from __future__ import annotations

import numpy as np
import pytest

from classicnets.explanation.projection import project


def test_pca_keeps_the_directions_of_most_variance() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(30, 6)) * (9, 3, 1, 0.1, 0.1, 0.1)
    places = project(features)["pca"]
    centred = features - features.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    expected = centred @ vectors[:, ::-1][:, :2]
    assert np.allclose(np.abs(places), np.abs(expected), atol=1e-6)


def test_tsne_keeps_groups_together() -> None:
    random = np.random.default_rng(1)
    features = np.concatenate([random.normal(0, 1, (20, 9)), random.normal(9, 1, (20, 9))]).astype(np.float32)
    places = project(features)["t-sne"]
    near = np.linalg.norm(places[:, None] - places[None], axis=2) + 1e9 * np.eye(40)
    assert ((near.argmin(axis=1) < 20) == (np.arange(40) < 20)).all()
    assert np.array_equal(places, project(features)["t-sne"])


@pytest.mark.parametrize(
    ("features", "methods"),
    [
        (np.ones((1, 3)), {"pca"}),
        (np.eye(3)[:2], {"pca"}),
        (np.eye(4), {"pca"}),
        (np.ones((50, 3)), {"pca"}),
        (np.arange(40.0)[:, None], {"pca", "t-sne"}),
        (np.eye(5), {"pca", "t-sne"}),
        (np.repeat(np.eye(5), 20, axis=0), {"pca", "t-sne"}),
    ],
)
def test_few_or_equal_features(features: np.ndarray, methods: set[str]) -> None:
    planes = project(features.astype(np.float32))
    assert planes.keys() == methods
    for places in planes.values():
        assert places.shape == (len(features), 2)
        assert np.isfinite(places).all()
