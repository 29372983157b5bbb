"""`classicnets study`, as typed."""

import json

import pytest

from classicnets.studies import CLAIMS


def test_the_claims_are_listed(run_cli):
    answer = run_cli("study")
    assert answer.code == 0
    for claim in CLAIMS.values():
        assert claim.name in answer.out
    entries = json.loads(run_cli("study", "--json").out)
    assert [entry["name"] for entry in entries] == list(CLAIMS)
    assert all({"name", "claim", "source", "minutes"} <= entry.keys() for entry in entries)
    full = json.loads(run_cli("study", "--preset", "full", "--json").out)
    assert [entry["minutes"] for entry in full] == [claim.full.minutes for claim in CLAIMS.values()]


def test_a_counted_claim_as_text_and_json(run_cli, tmp_path):
    answer = run_cli("study", "inception-cost", "--out", tmp_path / "s")
    assert answer.code == 0
    assert answer.out.startswith("inception-cost: shown\n")
    assert max(map(len, answer.out.splitlines()[:-1])) <= 80
    found = json.loads(run_cli("study", "inception-cost", "--out", tmp_path / "s", "--json").out)
    assert found["verdict"] == "shown"
    (finding,) = found["findings"]
    assert finding["mean"] == finding["interval"][0] == finding["values"][0] > 2


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("reul",), 2, "No claim named 'reul'. Did you mean relu"),
        (("relu", "--seeds", "1"), 2, "seeds"),
        (("inception-cost", "--out", "."), 2, "exists and is not a folder of studies"),
        (("relu", "--data", "nowhere"), 3, "no folder or file at"),
    ],
)
def test_wrong_arguments(run_cli, tmp_path, monkeypatch, arguments, code, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.txt").write_text("mine")
    answer = run_cli("study", *arguments)
    assert (answer.code, answer.out) == (code, "")
    assert said in answer.err
    assert [path.name for path in tmp_path.iterdir()] == ["other.txt"]
