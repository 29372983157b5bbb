"""Make `models/facts.json` from the models: python -m classicnets.analysis.make_facts

Run `make facts` after a change to any variant; a test compares the file with what this makes.
"""

from __future__ import annotations

import json
import re

from classicnets.analysis.summary import inspect
from classicnets.models.catalog import CATALOG
from classicnets.models.facts import PATH, Facts


def make_facts() -> dict[str, Facts]:
    """Return every model's facts by name, family by family in the catalog's order, small to large within a family."""
    facts: dict[str, Facts] = {}
    families = list(dict.fromkeys(entry.family.name for entry in CATALOG.values()))
    for name in sorted(CATALOG, key=lambda name: (families.index(CATALOG[name].family.name), _natural(name))):
        family, config = CATALOG[name]
        summary = inspect(name)
        facts[name] = Facts(
            family=family.name,
            paper=family.paper,
            year=_year(family.paper),
            params=summary.parameters,
            macs=summary.macs,
            image_size=config.image_size,
            min_size=config.min_size,
            in_channels=config.in_channels,
            num_classes=config.num_classes,
            note=config.note,
        )
    return facts


def to_json(facts: dict[str, Facts]) -> str:
    """Return the text of facts.json: one model a line, so that a change reads well in a diff."""
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(fact, ensure_ascii=False)}" for name, fact in facts.items())
    return f"{{\n{lines}\n}}\n"


def _natural(name: str) -> list[tuple[int, str]]:
    """Order by words and numbers: resnet18 before resnet101."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.findall(r"\d+|\D+", name)]


def _year(paper: str) -> int:
    """The last year in a paper's title line. Raises ValueError if there is none."""
    years = re.findall(r"\b(?:19|20)\d\d\b", paper)
    if not years:
        raise ValueError(f"No year in {paper!r}.")
    return int(years[-1])


if __name__ == "__main__":
    facts = make_facts()
    PATH.write_text(to_json(facts), encoding="utf-8")
    print(f"{len(facts)} models -> {PATH}")
