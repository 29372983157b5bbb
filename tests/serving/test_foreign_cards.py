"""A bundle may come from anywhere: whatever its bundle.json says about itself, the pages and /v1/models answer."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bundles import rewrite, write_bundle
from classicnets.deployment.manifest import Manifest
from classicnets.errors import WeightsError
from classicnets.serving.models import Served
from classicnets.serving.page.about import about
from servers import running

JUNK: tuple[Any, ...] = (
    "0.9",
    None,
    True,
    [],
    {},
    [["x"]],
    {"a": 1},
    float("nan"),
    float("inf"),
    10**400,
    -1,
    ["a", 2],
)
PROVENANCE = {
    "metrics": {
        "data": "birds test", "num_images": 60, "top1": 0.9, "top1_interval": [0.8, 0.95], "top5": 1.0, "macro_f1": 0.9,
        "ece": 0.05,
    },
    "data": {"name": "birds", "source": "/home/me/birds"},
    "training": {"epochs": 5, "best_epoch": 4, "val_accuracy": 0.9, "recipe": {"description": "a recipe"}},
    "trust": {"temperature": {"num_images": 60}, "coverage_note": "few", "novelty_note": "few"},
}  # fmt: skip
MEASURED = {
    "latency": [{"kept": True, "milliseconds": 1.5, "batch": 1}],
    "accuracy": {"before": 0.9, "after": 0.9, "images": 60},
    "machine": {"cpu": "a processor", "instruction_sets": ["avx2"], "versions": {}},
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return Served("tiny", write_bundle(tmp_path_factory.mktemp("foreign") / "bundle"))


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every value, at any depth."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield (*path, key)
        yield from paths_in(one, (*path, key))


def with_junk(values: dict[str, Any], path: tuple[Any, ...], junk: Any) -> dict[str, Any]:
    changed = copy.deepcopy(values)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = junk
    return changed


def shown(served: Served, provenance: dict[str, Any], measured: dict[str, Any]) -> dict[str, Any]:
    scorer = served.scorer
    scorer.card = replace(scorer.card, provenance=provenance)
    scorer.manifest = msgspec.structs.replace(scorer.manifest, measured=measured)
    return json.loads(json.dumps(about(served), allow_nan=False))


def test_a_card_that_is_as_it_should_be(served: Served) -> None:
    rows = dict(row for section in shown(served, PROVENANCE, MEASURED)["sections"] for row in section["rows"])
    assert rows["Right"] == "90.0 % (95 % interval 80.0 to 95.0)"
    assert rows["One image"] == "1.5 ms"
    assert rows["Accuracy"] == "90.0 % before the export, 90.0 % after it (60 images)"
    assert rows["Epochs"] == "5, the best one was epoch 4"
    assert rows["Scores"] == "calibrated on 60 validation images"
    assert "/home/me" not in json.dumps(rows)


@pytest.mark.parametrize("path", list(paths_in(PROVENANCE)), ids=lambda path: "-".join(map(str, path)))
def test_any_value_of_the_provenance(served: Served, path: tuple[Any, ...]) -> None:
    for junk in JUNK:
        assert shown(served, with_junk(PROVENANCE, path, junk), MEASURED)["name"] == "tiny"


@pytest.mark.parametrize("path", list(paths_in(MEASURED)), ids=lambda path: "-".join(map(str, path)))
def test_any_value_that_was_measured(served: Served, path: tuple[Any, ...]) -> None:
    for junk in JUNK:
        assert shown(served, PROVENANCE, with_junk(MEASURED, path, junk))["name"] == "tiny"


def test_what_is_no_card_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    card = Manifest.read(folder).card
    novelty = {"threshold": 1.0, "false_alarm_rate": 0.05, "num_images": 20}
    for changed in (
        {"provenance": ["x"]},
        {"provenance": None},
        {"model_name": 5},
        {"novelty": novelty | {"threshold": "1"}},
        {"novelty": novelty | {"false_alarm_rate": 2}},
        {"novelty": novelty | {"num_images": None}},
    ):
        rewrite(folder, card=card | changed)
        with pytest.raises(WeightsError, match=r"bundle\.json: "):
            Served("tiny", folder)


def test_the_server_answers(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    card = Manifest.read(folder).card
    provenance = {"metrics": {"top1": "very good", "top5": [{}], "ece": None}, "training": 3}
    rewrite(folder, card=card | {"provenance": provenance}, measured={"latency": "fast"})
    with running([Served("tiny", folder)]) as server:
        (described,) = server.ask("GET", "/v1/models").json()["models"]
        assert described["metrics"] == {"top1": "very good", "ece": None}
        assert server.ask("GET", "/page/models").status == 200
        assert server.ask("GET", "/v2/models/tiny").status == 200
