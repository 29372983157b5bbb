"""schemathesis sends what the OpenAPI document allows and what it forbids, and checks every answer against it."""

from __future__ import annotations

from pathlib import Path

import pytest

from classicnets.serving.models import Served
from classifiers import tiny_classifier
from servers import running

_CASES = 2_000


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_two_thousand_cases(bundle: Path, tmp_path: Path) -> None:
    """No status, media type, header or key that is not documented, and no 5xx."""
    import hypothesis
    import schemathesis
    from schemathesis.checks import not_a_server_error
    from schemathesis.generation import GenerationMode
    from schemathesis.specs.openapi import checks

    pets = tiny_classifier(("cat", "dog"), channels=3).save(tmp_path / "pets")
    answered: dict[int, int] = {}
    with running([Served("tiny", bundle), Served("pets", pets)], body=1_000_000, images=4) as server:
        address = f"http://127.0.0.1:{server.port}"
        schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
        operations = [found.ok() for found in schema.get_all_operations()]
        modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
        each = -(-_CASES // (len(operations) * len(modes)))
        wanted = [
            not_a_server_error, checks.status_code_conformance, checks.content_type_conformance,
            checks.response_headers_conformance, checks.response_schema_conformance,
        ]  # fmt: skip
        for operation in operations:
            for mode in modes:

                @hypothesis.settings(
                    max_examples=each, deadline=None, derandomize=True, database=None,
                    suppress_health_check=list(hypothesis.HealthCheck),
                )  # fmt: skip
                @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
                def ask(case: schemathesis.Case) -> None:
                    for name, value in (("name", "tiny"), ("version", "1")):  # half of the cases ask what exists
                        if name in (case.path_parameters or {}) and sum(answered.values()) % 2:
                            case.path_parameters[name] = value
                    response = case.call_and_validate(base_url=address, checks=wanted)
                    answered[response.status_code] = answered.get(response.status_code, 0) + 1

                ask()
    print(answered)
    assert sum(answered.values()) >= _CASES
    assert answered[200] > _CASES // 5
