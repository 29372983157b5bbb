"""schemathesis sends what the OpenAPI document allows and what it forbids, and checks every answer against it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from classicnets.serving.models import Served
from classifiers import tiny_classifier
from servers import running

_CASES = 2_000
_EXISTING = {"name": "tiny", "version": "1"}


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.filterwarnings("ignore")
def test_two_thousand_cases(bundle: Path, tmp_path: Path) -> None:
    """No status, media type, header or key that is not documented, and no 5xx."""
    import schemathesis
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st
    from schemathesis.checks import not_a_server_error
    from schemathesis.generation import GenerationMode
    from schemathesis.specs.openapi import checks

    pets = tiny_classifier(("cat", "dog"), channels=3).save(tmp_path / "pets")
    wanted = [
        not_a_server_error, checks.status_code_conformance, checks.content_type_conformance,
        checks.response_headers_conformance, checks.response_schema_conformance,
    ]  # fmt: skip
    answered: Counter[int] = Counter()
    with running([Served("tiny", bundle), Served("pets", pets)], body=1_000_000, images=4) as server:
        address = f"http://127.0.0.1:{server.port}"
        schema = schemathesis.openapi.from_url(f"{address}/openapi.json")

        def ask(operation: Any, mode: GenerationMode, number: int) -> None:
            @settings(
                max_examples=number, deadline=None, derandomize=True, database=None,
                suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            @given(case=operation.as_strategy(generation_mode=mode), exists=st.booleans())
            def one(case: schemathesis.Case, exists: bool) -> None:
                if exists:  # half of the cases ask about a model that there is
                    case.path_parameters |= {name: _EXISTING[name] for name in case.path_parameters}
                answered[case.call_and_validate(base_url=address, checks=wanted).status_code] += 1

            one()

        operations = [found.ok() for found in schema.get_all_operations()]
        posts = [operation for operation in operations if operation.method == "post"]
        named = [operation for operation in operations if "{" in operation.path and operation not in posts]
        each = -(-_CASES // (2 * len(posts) + len(named)))
        for operation in operations:
            ask(operation, GenerationMode.POSITIVE, each if operation in [*posts, *named] else 1)
        for operation in posts:  # any text may be a name, so nothing is forbidden elsewhere
            ask(operation, GenerationMode.NEGATIVE, each)
    assert answered.total() >= _CASES, answered
    assert answered[200] > _CASES // 10, answered
