"""The files of deploy/ agree with the command line, the routes and the limits that they name."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
import types
import urllib.request
import venv
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from packaging.requirements import Requirement
from typer.core import TyperGroup

from bundles import write_bundle
from classicnets.cli.main import app as command_line
from classicnets.deployment.requirements import requirements
from classicnets.serving import server
from classicnets.serving.app import create_app
from classicnets.serving.limits import Limits
from classicnets.serving.models import Served
from servers import png

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNIT = (DEPLOY / "classicnets.service").read_text("utf-8")
CONTAINER = (DEPLOY / "Containerfile").read_text("utf-8")
RESOURCES = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text("utf-8")))
LIMITS = Limits(workers=2)
DRAINED = LIMITS.seconds + server._KEPT + server._NOTICED + server._FIRST
"""The longest that a server takes to stop."""


def parsed(arguments: list[str]) -> dict[str, Any]:
    """What the options of `classicnets serve` would be; a usage error is raised."""
    command = typer.main.get_command(command_line)
    assert isinstance(command, TyperGroup)
    serve = command.commands["serve"]
    with serve.make_context("serve", arguments) as context:
        return context.params


def settings(unit: str) -> dict[str, list[str]]:
    """The settings of a unit, in order."""
    found = defaultdict(list)
    for name, value in re.findall(r"^(\w+)=(.*)$", unit, re.MULTILINE):
        found[name].append(value)
    return found


def instructions(name: str) -> list[str]:
    """What follows an instruction of the Containerfile, wherever it stands."""
    joined = CONTAINER.replace("\\\n", " ")
    return re.findall(rf"^{name} (.*)$", joined, re.MULTILINE)


class TestSystemd:
    def test_it_starts_what_the_command_line_has_and_waits_until_it_has_stopped(self) -> None:
        unit = settings(UNIT)
        _, command, *arguments = shlex.split(unit["ExecStart"][0])
        assert command == "serve"
        assert parsed(arguments)["host"] == "127.0.0.1"
        assert int(unit["TimeoutStopSec"][0]) > DRAINED
        assert int(unit["LimitNOFILE"][0]) > LIMITS.connections + server._OTHER_FILES
        assert "CLASSICNETS_API_KEY" in UNIT

    def test_it_may_do_little(self) -> None:
        unit = settings(UNIT)
        assert unit["DynamicUser"] == unit["NoNewPrivileges"] == unit["ProtectHome"] == ["yes"]
        assert unit["ProtectSystem"] == ["strict"]
        assert unit["CapabilityBoundingSet"] == [""]
        assert unit["MemoryMax"]

    @pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
    def test_systemd_knows_every_setting(self, tmp_path: Path) -> None:
        def said(text: str) -> subprocess.CompletedProcess[str]:
            (tmp_path / "classicnets.service").write_text(text, "utf-8")
            command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", "classicnets.service"]
            return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

        here = UNIT.replace("/opt/classicnets/bin/classicnets", sys.executable)
        verified = said(here)
        assert (verified.returncode, verified.stderr) == (0, "")
        assert "ProtectSystems" in said(here.replace("ProtectSystem=", "ProtectSystems=")).stderr
        security = ["systemd-analyze", "security", "--offline=yes", "--threshold=20", "classicnets.service"]
        said(here)
        scored = subprocess.run(security, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert scored.returncode == 0, scored.stdout[-300:]


class TestContainer:
    def test_what_it_copies_is_there(self) -> None:
        (given, bundle) = (words.split() for words in instructions("ARG"))
        assert given == bundle == ["BUNDLE"]
        copied = [words for line in instructions("COPY") if "--from" not in line for words in line.split()[:-1]]
        assert [name for name in copied if "${BUNDLE}" not in name and not (ROOT / name).exists()] == []

    def test_it_runs_what_the_command_line_has_as_a_user_without_rights(self) -> None:
        (entry,), (words,) = instructions("ENTRYPOINT"), instructions("CMD")
        assert json.loads(entry) == ["classicnets", "serve"]
        options = parsed(json.loads(words))
        assert [str(options["port"])] == instructions("EXPOSE")
        assert options["host"] == "0.0.0.0"
        with pytest.raises(Exception, match="Give it a key with --api-key"):
            server.check_address(options["host"], options["api_key"], insecure=options["insecure"])
        assert instructions("USER") == ["65532:65532"]
        assert CONTAINER.rindex("USER") > CONTAINER.rindex("COPY"), "nothing that it runs belongs to it"

    def test_it_has_the_packages_of_the_server_and_no_others(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        (jinja,) = (line for line in project["dependencies"] if line.startswith("jinja2"))
        listed = (DEPLOY / "requirements.txt").read_text("utf-8").split()
        assert listed == [*project["optional-dependencies"]["serve"], jinja]
        assert "torch" not in {Requirement(line).name for line in listed}
        assert "--no-deps ." in CONTAINER


class TestKubernetes:
    def test_the_parts_belong_together(self) -> None:
        deployment, service, budget = RESOURCES
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        for selector in (deployment["spec"]["selector"], budget["spec"]["selector"]):
            assert selector["matchLabels"] == labels
        assert service["spec"]["selector"] == labels
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        (port,) = container["ports"]
        assert service["spec"]["ports"][0]["targetPort"] == port["name"]

    def test_it_starts_what_the_command_line_has(self) -> None:
        deployment, service, _ = RESOURCES
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        options = parsed(container["args"])
        assert options["port"] == container["ports"][0]["containerPort"]
        assert options["allow_host"] == [service["metadata"]["name"], "$(POD_IP)"]
        variables = {variable["name"] for variable in container["env"]}
        assert {"POD_IP", "CLASSICNETS_API_KEY"} == variables

    def test_probes_ask_routes_that_need_no_key(self, tmp_path: Path) -> None:
        (container,) = RESOURCES[0]["spec"]["template"]["spec"]["containers"]
        probes = {kind: container[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness")}
        paths = {kind: probe["httpGet"]["path"] for kind, probe in probes.items()}
        assert paths == {"startup": "/health/ready", "readiness": "/health/ready", "liveness": "/health/live"}
        assert {probe["httpGet"]["port"] for probe in probes.values()} == {container["ports"][0]["name"]}
        ask, _ = create_app([Served("tiny", write_bundle(tmp_path / "b"))], limits=LIMITS, hosts=["10.0.0.7"], key="k")
        for path in paths.values():
            assert status(ask, path, "10.0.0.7:8000") == 200
        assert status(ask, "/v1/models", "10.0.0.7:8000") == 401

    def test_it_has_time_to_stop(self) -> None:
        pod = RESOURCES[0]["spec"]["template"]["spec"]
        (_, seconds) = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        assert pod["terminationGracePeriodSeconds"] > float(seconds) + DRAINED

    def test_it_may_do_little(self) -> None:
        pod = RESOURCES[0]["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" in CONTAINER
        assert pod["automountServiceAccountToken"] is False
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= set(container["resources"]["limits"])


def status(ask: Any, path: str, host: str) -> int:
    """The status of a GET, asked without a socket."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if sent:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": [(b"host", host.encode())], "http_version": "1.1", "scheme": "http",
    }  # fmt: skip
    asyncio.run(ask(scope, receive, send))
    return int(sent[0]["status"])


def test_ray_serve_s_program_answers_and_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray is not installed here: its decorator is stood in for, the rest of the program runs."""
    ray, given = types.ModuleType("ray"), {}

    def deployment(**options: Any) -> Any:
        given.update(options)
        return lambda made: type(made.__name__, (made,), {"bind": classmethod(lambda cls, *values: (cls, values))})

    ray.serve = types.SimpleNamespace(deployment=deployment)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setenv("CLASSICNETS_BUNDLE", str(write_bundle(tmp_path / "tiny")))
    spec = importlib.util.spec_from_file_location("ray_serve", DEPLOY / "ray_serve.py")
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    make, values = program.app
    classifier = make(*values)

    def asked(content: bytes) -> Any:
        async def body() -> bytes:
            return content

        return asyncio.run(classifier(types.SimpleNamespace(body=body)))

    assert json.loads(asked(png(1)).body)["predictions"][0]["label"] == "green"
    assert asked(b"text").status_code == 400
    assert given["max_queued_requests"] > 0, "what is too much is refused"
    assert given["max_ongoing_requests"] == given["ray_actor_options"]["num_cpus"]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may read; pytest's are its own user's."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.slow  # downloads about 70 MB
@pytest.mark.timeout(900)
@pytest.mark.skipif(os.name == "nt" or os.getuid() != 0, reason="only root can become another user")
def test_the_runtime_without_torch_serves_as_a_user_who_may_write_nothing(open_folder: Path) -> None:
    bundle = write_bundle(open_folder / "bundle", "openvino")
    (open_folder / "engine.txt").write_text(requirements("openvino"), "utf-8")
    venv.create(open_folder / "env", with_pip=True)
    pip = [open_folder / "env/bin/pip", "install", "--quiet"]
    for words in (["--no-deps", ROOT], ["-r", open_folder / "engine.txt", "-r", DEPLOY / "requirements.txt"]):
        subprocess.run([*pip, *words], check=True, env={"PATH": os.environ["PATH"]})
    installed = subprocess.run([*pip[:1], "list"], check=True, capture_output=True, text=True).stdout
    assert "torch" not in installed
    assert "fastapi" in installed
    clean = {
        "PATH": f"{open_folder / 'env/bin'}",
        "TMPDIR": "/nowhere",
        "HOME": "/nowhere",
        "CLASSICNETS_API_KEY": "key",
    }
    process = subprocess.Popen(
        ["classicnets", "serve", f"tiny={bundle}", "--port", "0", "--host", "0.0.0.0"],
        env=clean, cwd="/", user=65532, group=65532, extra_groups=[], stderr=subprocess.PIPE, text=True,
        executable=open_folder / "env/bin/classicnets",
    )  # fmt: skip
    try:
        address = re.search(r"0\.0\.0\.0:(\d+)", process.stderr.readline())
        assert address is not None, process.stderr.read()
        for path, body in (
            ("/health/ready", None), ("/v1/models", None), ("/v2", None), ("/docs", None), ("/metrics", None),
            ("/v1/predict", png(1)),
        ):  # fmt: skip
            request = urllib.request.Request(f"http://127.0.0.1:{address[1]}{path}", body, {"X-API-Key": "key"})
            with urllib.request.urlopen(request, timeout=20) as reply:
                content = reply.read()
        assert json.loads(content)["answers"][0]["predictions"][0]["label"] == "green"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.communicate()
