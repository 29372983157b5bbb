"""`classicnets doctor BUNDLE`: what it finds, what it says, and its exit codes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import onnx
import pytest

from bundles import rewrite, seal, write_bundle, write_graph
from classicnets.cli.main import main
from classicnets.deployment import doctor as module
from classicnets.deployment.choose import Candidate, Choice, Row
from classicnets.deployment.doctor import Finding, examine
from classicnets.deployment.engines import Settings, open_session
from classicnets.deployment.manifest import Input, Manifest
from classicnets.errors import ConfigError, WeightsError
from classicnets.system.machine import machine


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle")


def found(bundle: Path, what: str) -> Finding:
    (finding,) = (finding for finding in examine(bundle, measure=False).findings if finding.what == what)
    return finding


def run(bundle: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    monkeypatch.setattr(sys, "argv", ["classicnets", "doctor", str(bundle), *options])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


def exported_on(bundle: Path, **there: Any) -> None:
    """Have the bundle say that it was exported on a machine that differs from this one."""
    rewrite(bundle, measured={"machine": machine("onnxruntime") | there})


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_bundle_holds_where_it_was_exported(tmp_path: Path, engine: Any) -> None:
    diagnosis = examine(write_bundle(tmp_path / "bundle", engine), measure=False)
    assert diagnosis.holds
    assert [finding.what for finding in diagnosis.findings] == [
        "files",
        "engine",
        "golden images",
        "processor",
        "cores",
    ]
    assert {finding.verdict for finding in diagnosis.findings} == {"ok"}
    assert (diagnosis.engine, diagnosis.threads) == (engine, diagnosis.machine["usable_cores"])
    assert diagnosis.findings[2].found.startswith("3 of 3 get the same class")


def test_a_changed_bias_is_found_by_its_hash(bundle: Path) -> None:
    write_graph(bundle / "model.onnx", bias=0.1)
    diagnosis = examine(bundle)
    assert not diagnosis.holds
    assert diagnosis.engine is None
    assert [finding.what for finding in diagnosis.findings] == ["files"]
    assert "model.onnx was changed or damaged" in diagnosis.findings[0].found


@pytest.mark.parametrize("bias", [0.1, -0.01, 1e3])
def test_a_changed_bias_with_a_changed_hash_is_found_by_the_golden_images(bundle: Path, bias: float) -> None:
    write_graph(bundle / "model.onnx", bias=bias)
    seal(bundle)
    finding = found(bundle, "golden images")
    assert finding.verdict == "fails"
    assert "The network was changed, or is computed wrongly here: do not use it" in finding.found


def test_rounding_is_not_a_change(bundle: Path) -> None:
    write_graph(bundle / "model.onnx", bias=1e-5)
    seal(bundle)
    assert examine(bundle, measure=False).holds


def test_a_graph_that_computes_no_numbers(bundle: Path) -> None:
    write_graph(bundle / "model.onnx", bias=float("nan"))
    seal(bundle)
    assert found(bundle, "golden images").verdict == "fails"


def test_a_missing_file(bundle: Path) -> None:
    (bundle / "golden/1.png").unlink()
    assert "golden/1.png is missing" in found(bundle, "files").found


def test_golden_images_that_are_none(bundle: Path) -> None:
    (bundle / "golden/1.png").write_bytes(b"no image")
    seal(bundle)
    assert "golden/1.png cannot be read" in found(bundle, "golden images").found
    rewrite(bundle, golden=(), input=Input(shape=("N", 5, 8, 8)))
    assert found(bundle, "golden images").found == "none: PNG cannot hold images of 5 channels"
    rewrite(bundle, golden=(), input=Input(shape=("N", 3, 8, 8)))
    assert "has no golden images" in found(bundle, "golden images").found


def test_a_newer_format(bundle: Path) -> None:
    rewrite(bundle, format=2)
    with pytest.raises(WeightsError, match="has format 2"):
        examine(bundle)


def test_an_engine_that_is_not_installed(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    finding = found(bundle, "engine")
    assert finding.verdict == "fails"
    assert finding.found.endswith("Install it with: pip install onnxruntime")


def test_a_graph_that_the_engine_refuses(bundle: Path) -> None:
    (bundle / "model.onnx").write_bytes(b"no graph")
    seal(bundle)
    assert "ONNX Runtime cannot load it" in found(bundle, "engine").found


def test_a_graph_that_does_not_take_the_images(bundle: Path) -> None:
    model = onnx.load(bundle / "model.onnx")
    model.graph.input[0].name = model.graph.node[0].input[0] = "pixels"
    onnx.save(model, bundle / "model.onnx")
    seal(bundle)
    finding = found(bundle, "golden images")
    assert (finding.verdict, "cannot be run" in finding.found) == ("fails", True)


@pytest.mark.parametrize("there", ["a machine", {}, {"versions": [], "instruction_sets": []}, {"versions": {}}])
def test_a_machine_that_is_described_wrongly(bundle: Path, there: Any) -> None:
    rewrite(bundle, measured={"machine": there})
    assert examine(bundle, measure=False).holds


def test_another_processor(bundle: Path) -> None:
    exported_on(bundle, cpu="Xeon", instruction_sets=["avx2", "avx512f", "avx512_vnni"])
    assert examine(bundle, measure=False).holds
    finding = found(bundle, "processor")
    assert finding.verdict == "differs"
    assert "exported on Xeon, avx2, avx512f, avx512_vnni. The times in bundle.json do not hold here" in finding.found
    assert "slower" not in finding.found


def test_another_processor_for_int8(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", settings=Settings(precision="int8"))
    exported_on(bundle, cpu="Xeon", instruction_sets=["of_tomorrow"])
    finding = found(bundle, "processor")
    assert finding.found.endswith("int8 may be slower than fp32: export on this machine with --engine auto")


def test_a_machine_that_is_not_named(bundle: Path) -> None:
    rewrite(bundle, measured={})
    assert "the bundle does not say where it was exported" in found(bundle, "processor").found


def test_another_version_of_the_engine(bundle: Path) -> None:
    exported_on(bundle, versions={"onnxruntime": "1.0"})
    finding = found(bundle, "engine")
    assert (finding.verdict, finding.found.endswith("; exported with 1.0")) == ("differs", True)


def test_a_processor_without_the_bundle_s_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class InFp32(NamedTuple):
        run: Any
        executed: str = "fp32"

    monkeypatch.setattr(module, "open_session", lambda *given: InFp32(open_session(*given).run))
    finding = found(write_bundle(tmp_path / "bundle", settings=Settings(precision="bf16")), "engine")
    assert finding.verdict == "differs"
    assert finding.found.endswith("computes in fp32 and not in bf16, which this processor has no instructions for")


def test_threads_follow_the_cores_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = write_bundle(tmp_path / "bundle", settings=Settings(threads=2))
    exported_on(bundle, usable_cores=4)
    for cores, threads in ((1, 1), (8, 2)):
        monkeypatch.setattr("classicnets.system.machine.usable_cores", lambda cores=cores: cores)
        monkeypatch.setattr("classicnets.system.machine.cpu_quota", lambda cores=cores: cores - 0.5)
        monkeypatch.setattr("classicnets.deployment.engines.usable_cores", lambda cores=cores: cores)
        diagnosis = examine(bundle, measure=False)
        assert diagnosis.threads == threads
        assert diagnosis.findings[-1].found == f"{cores} may be used, a quota of {cores - 0.5:g}; exported with 4"


class TestSpeed:
    def test_the_fastest_is_measured(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("classicnets.deployment.choose._SECONDS", 0.01)
        diagnosis = examine(write_bundle(tmp_path / "bundle", "openvino"))
        assert diagnosis.findings[-1].what == "speed"
        assert f"{diagnosis.engine} with" in diagnosis.findings[-1].found
        assert "images/s" in diagnosis.findings[-1].found

    def test_only_engines_that_answer_alike_are_measured(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        measured = []

        def choose(candidates: Any, **others: Any) -> None:
            measured.append([candidate.engine for candidate in candidates])
            raise ConfigError("none")

        monkeypatch.setattr(module, "choose", choose)
        bundle = write_bundle(tmp_path / "bundle", "openvino")
        assert examine(bundle).engine == "openvino"
        write_graph(bundle / "model.onnx", bias=0.1)
        seal(bundle)
        assert examine(bundle).engine == "openvino"
        assert measured == [["onnxruntime", "openvino"], ["openvino"]]

    def test_another_choice_than_the_bundle_s(self, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        row = Row("openvino", "fp32", "fp32", 1, 1, None, "direct", False, 1, 0.5, 2000.0, kept=True)
        choice = Choice(Candidate("openvino", bundle), Settings(threads=1), (row,))
        monkeypatch.setattr(module, "choose", lambda *given, **others: choice)
        diagnosis = examine(bundle)
        assert (diagnosis.engine, diagnosis.threads) == ("openvino", 1)
        usual = Settings().used_threads
        finding = diagnosis.findings[-1]
        assert finding.verdict == "differs"
        assert finding.found.startswith(
            "openvino with 1 thread is fastest: 2,000 images/s; the bundle uses onnxruntime"
        )
        assert finding.found.endswith("1 thread" if usual == 1 else f"{usual} threads")


def test_the_command_prints_a_table(bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("classicnets.deployment.choose._SECONDS", 0.01)
    assert run(bundle, monkeypatch) == 0
    out, err = capsys.readouterr()
    names = ["files", "engine", "golden", "processor", "cores", "speed"]
    assert [line.split()[0] for line in out.splitlines()[1:7]] == names
    assert out.endswith(f"{bundle} holds on this machine.\n")
    assert err == ""


def test_the_command_refuses_in_one_sentence(bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    (bundle / "model.onnx").unlink()
    assert run(bundle, monkeypatch) == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {bundle} does not hold on this machine: {bundle}/model.onnx is missing.")


@pytest.mark.parametrize(("damage", "code"), [(False, 0), (True, 4)])
def test_json(bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, damage: bool, code: int) -> None:
    if damage:
        write_graph(bundle / "model.onnx", bias=0.1)
    assert run(bundle, monkeypatch, "--json", "--no-measure") == code
    answer = json.loads(capsys.readouterr().out)
    assert answer["holds"] is not damage
    assert answer["findings"][0]["verdict"] == ("fails" if damage else "ok")
    assert answer["machine"]["usable_cores"] >= 1


@pytest.mark.parametrize(("content", "message"), [(None, "cannot be read"), ('{"format": 9}', "has format 9")])
def test_what_is_no_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, content: Any, message: str
) -> None:
    if content:
        (tmp_path / "bundle.json").write_text(content, "utf-8")
    assert run(tmp_path, monkeypatch) == 4
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err


def test_the_bundle_is_not_changed(bundle: Path) -> None:
    before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    examine(bundle, measure=False)
    assert {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()} == before
    Manifest.read(bundle).check_files(bundle)


@pytest.mark.parametrize(
    ("seven_bits", "sets", "verdict", "words"),
    [
        (True, ["avx2"], "ok", "weights use 7 bits"),
        (False, ["avx2", "avx_vnni"], "ok", "weights use 8 bits"),
        (False, ["avx2"], "differs", "sums of products may overflow"),
        (True, ["avx2", "avx_vnni"], "differs", "which this processor does not need"),
    ],
)
def test_int8_that_was_made_for_another_processor(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, seven_bits: bool, sets: list[str], verdict: str, words: str
) -> None:
    here = machine("onnxruntime", "numpy") | {"instruction_sets": sets}
    monkeypatch.setattr(module, "machine", lambda *packages: here)
    about = {"machine": here, "int8": {"seven_bits": seven_bits}}
    rewrite(bundle, settings=Settings(precision="int8"), measured=about)
    finding = found(bundle, "int8")
    assert (finding.verdict, words in finding.found) == (verdict, True)
    rewrite(bundle, measured={"machine": here, "int8": {"seven_bits": "yes"}})
    assert "int8" not in [one.what for one in examine(bundle, measure=False).findings]
    rewrite(bundle, settings=Settings(), measured=about)
    assert "int8" not in [one.what for one in examine(bundle, measure=False).findings]
