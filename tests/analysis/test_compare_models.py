"""`compare`: the papers' depths, the numbers of `inspect`, latencies in turns, and answers to wrong names."""

from __future__ import annotations

import csv
import io
import itertools
import json
import sys
from types import SimpleNamespace

import pytest
import torch
from inspected import inspected
from torch.nn.modules.module import register_module_forward_hook

from classicnets.analysis import compare, latency
from classicnets.errors import ConfigError, UnknownName
from classicnets.models.contract import ConvNet
from classicnets.models.facts import FACTS
from classicnets.models.published import PUBLISHED

DEPTHS = {  # as the papers count them; DenseNet-264 has 265 layers by its own Table 1
    "alexnet_2012": 8, "vgg11": 11, "vgg19": 19, "nin_cifar": 9, "googlenet": 22, "resnet18": 18, "resnet50": 50,
    "resnet152_v1": 152, "resnet20_cifar": 20, "plain56_cifar": 56, "preact_resnet164_cifar": 164, "densenet121": 121,
    "densenet264": 265, "densenet40_k12_cifar": 40, "densenet_bc100_k12_cifar": 100,
}  # fmt: skip


@pytest.fixture(scope="module")
def compared():
    with pytest.MonkeyPatch.context() as patch:  # the package's `compare` is the function, not the module
        patch.setattr(sys.modules["classicnets.analysis.compare"], "inspect", inspected)
        return compare(*DEPTHS, latency=False)


def test_depths_are_those_of_the_papers(compared) -> None:
    assert {one.model: one.depth for one in compared.networks} == DEPTHS


def test_numbers_are_those_of_the_facts_and_of_inspect(compared) -> None:
    for one in compared.networks:
        facts = FACTS[one.model]
        assert (one.parameters, one.macs, one.family) == (facts["params"], facts["macs"], facts["family"])
        assert one.published == PUBLISHED.get(one.model)
        assert one.latency is None
    vgg11, summary = compared.networks[1], inspected("vgg11")
    assert vgg11.receptive_field == summary.stages[-2].receptive_field == (150, 150)
    assert (vgg11.weight_bytes, vgg11.activation_bytes) == (4 * vgg11.parameters, summary.activation_bytes)


def test_json_and_csv_have_a_row_for_each_network(compared) -> None:
    answer = json.loads(compared.to_json())
    assert answer["latency"] is None
    assert [one["model"] for one in answer["networks"]] == list(DEPTHS)
    assert answer["networks"][1]["published"]["top1"] == PUBLISHED["vgg11"].top1
    rows = list(csv.DictReader(io.StringIO(compared.to_csv())))
    assert [int(row["depth"]) for row in rows] == list(DEPTHS.values())
    assert {row["seconds_batch"] for row in rows} == {""}
    assert {row["model"]: row["data"] for row in rows}["resnet20_cifar"] == "CIFAR-10"


def test_text_keeps_data_sets_apart_and_fits_80_columns(compared) -> None:
    lines = str(compared).splitlines()
    assert max(map(len, lines)) <= 80
    (header,) = (line for line in lines if line.endswith("ImageNet-1K  CIFAR-10"))
    found = {line.split()[0]: line.split()[1:] for line in lines[lines.index(header) + 2 :] if line}
    assert found["vgg11"] == ["69.02%", "-"]
    assert found["resnet20_cifar"] == ["-", "91.25%"]
    assert found["plain56_cifar"] == ["-", "-"]
    assert "  resnet20_cifar: arXiv:1512.03385, Table 6" in lines


def test_without_a_published_accuracy_the_text_says_so() -> None:
    text = str(compare("nin_bn", "alexnet", latency=False))
    assert text.endswith("No accuracy for one view of each image was published for these models.")


def test_latencies_are_medians_of_turns_without_the_first(monkeypatch) -> None:
    turns = []

    def times(net, images):
        turns.append((net, len(images)))
        rounds, _ = divmod(len(turns) - 1, 4)
        return [100.0] if rounds == 0 else [float(rounds * len(images))]

    monkeypatch.setattr(latency, "_times", times)
    seen = []
    found = compare("resnet20_cifar", "nin_cifar", batch_size=3, device="cpu", progress=lambda *a: seen.append(a))
    assert [one.latency for one in found.networks] == [(3.0, 9.0), (3.0, 9.0)]
    assert found.conditions == ("cpu", torch.get_num_threads(), 3)
    assert [size for _, size in turns[:4]] == [1, 3, 1, 3]
    assert len({net for net, _ in turns[:4]}) == 2
    assert all(not net.training for net, _ in turns)
    assert seen[-1] == ("Measuring latency", 24, 24)
    assert "ms, batch of 3" in str(found)
    assert found.to_dict()["latency"] == {
        "device": "cpu", "threads": torch.get_num_threads(), "batch_size": 3, "precision": "fp32",
    }  # fmt: skip


def test_a_measured_latency_is_the_time_of_a_forward_pass(monkeypatch) -> None:
    """By a clock that goes on by a hundredth of a second for each image that a network answers."""
    now = 0.0

    def answered(module, args, output):
        nonlocal now
        if isinstance(module, ConvNet):
            now += 0.01 * len(output)

    monkeypatch.setattr(latency, "time", SimpleNamespace(perf_counter=lambda: now))
    hook = register_module_forward_hook(answered)
    try:
        found = compare("resnet20_cifar", "nin_half_cifar_bn", batch_size=3, device="cpu")
    finally:
        hook.remove()
    assert [one.latency for one in found.networks] == [pytest.approx((0.01, 0.03))] * 2
    assert "fp32 on cpu, " in str(found)


def test_patterns_are_expanded_and_doubles_given_once() -> None:
    found = compare("vgg1[13]", "vgg13", "nin", latency=False)
    assert [one.model for one in found.networks] == ["vgg11", "vgg13", "nin"]


@pytest.mark.parametrize(
    ("models", "kind", "said"),
    [
        (("resnet81", "vgg16"), UnknownName, "Did you mean resnet18"),
        (("zz*", "vgg16"), ConfigError, "No model matches 'zz\\*'"),
        (("vgg16",), ConfigError, "got only vgg16"),
        (("vgg16", "vgg16"), ConfigError, "got only vgg16"),
        ((), ConfigError, "got none"),
    ],
)
def test_wrong_models_are_refused(models, kind, said) -> None:
    with pytest.raises(kind, match=said):
        compare(*models, latency=False)


def test_wrong_settings_are_refused_before_anything_is_measured(monkeypatch) -> None:
    with pytest.raises(ConfigError, match="batch size must be 1 or more, got 0"):
        compare("vgg11", "vgg13", batch_size=0)
    with pytest.raises(ConfigError, match="No device 'abacus'"):
        compare("nin", "nin_cifar", device="abacus")
    monkeypatch.setattr(latency, "memory_bytes", lambda: 2**30)
    with pytest.raises(ConfigError, match=r"need 1\.0 GiB at once.*--no-latency"):
        compare("vgg11", "vgg13", device="cpu")


def test_every_depth_is_above_0_and_no_deeper_than_the_layers() -> None:
    for name in itertools.islice(FACTS, 0, None, 7):
        summary = inspected(name)
        weighted = [row for row in summary.layers if row.macs]
        assert 0 < summary.depth <= len(weighted)
