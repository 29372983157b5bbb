"""Several processes train as one does: real ones, started by torchrun."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import parallel
import pytest

from classicnets.weights.files import load_safetensors

pytestmark = pytest.mark.timeout(1200)  # half a minute on an idle machine

TORCHRUN = (sys.executable, "-m", "torch.distributed.run")
TRAIN = ("-m", "classicnets", "train", "resnet20_cifar", "digits")
FAST = tuple(
    word
    for setting in ("batch_size=250", "precision=fp32", "model.switches.depths=[1,1,1]")
    for word in ("--set", setting)
)


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error::UserWarning"}


def torchrun(processes, *command):
    return subprocess.run(
        [*TORCHRUN, "--nproc-per-node", str(processes), *map(str, command)],
        capture_output=True, text=True, env=environment(), check=False,
    )  # fmt: skip


class Ended(NamedTuple):
    """What each process found, the outcomes of `parallel.py`, and what the command after that printed."""

    folder: Path
    found: list[dict]
    out: str
    err: str


def in_processes(number, folder, *command):
    """Run `parallel.py` in so many processes, and then a command of classicnets."""
    ended = torchrun(number, parallel.__file__, folder, *command)
    assert ended.returncode == 0, ended.stderr
    assert "Warning" not in ended.stderr
    found = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(number)]
    return Ended(folder, found, ended.stdout, ended.stderr)


@pytest.fixture(scope="module")
def alone():
    return parallel.outcomes()


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    return in_processes(2, folder, *TRAIN[2:], *FAST, "--epochs", "1", "--out", folder / "run", "--json")


def agree(found, expected):
    assert found["losses"] == pytest.approx(expected["losses"], abs=1e-3)
    assert found["epoch"] == pytest.approx(expected["epoch"], abs=1e-3)
    assert found["names"] == expected["names"]


@pytest.mark.parametrize("case", parallel.CASES)
def test_two_processes_train_as_one(alone, two, case):
    """Parts of 8 and 9 images, 10 and 11 in validation: losses, accuracies and names agree, and the two to the bit."""
    first, second = (found["outcomes"][case] for found in two.found)
    agree(first, alone[case])
    assert first == second


def test_recomputing_changes_no_bit_among_processes(two):
    outcomes = two.found[0]["outcomes"]
    assert outcomes["batch norm, recomputed"] == outcomes["batch norm"]


def test_an_error_in_one_process_is_every_ones(two):
    for found in two.found:
        assert found["errors"] == {
            "together": "DataError: the second process has no image",
            "main": "StorageError: the disk is full",
        }
    assert [found["order"] for found in two.found] == [0, 1]


@pytest.mark.slow
def test_four_processes_train_as_one(alone, tmp_path):
    for found in in_processes(4, tmp_path).found:
        for case, outcome in found["outcomes"].items():
            agree(outcome, alone[case])


def rows(run):
    """The rows of metrics.csv, less the times."""
    return [line.split(",")[:-2] for line in (run / "metrics.csv").read_text().splitlines()]


def events(run):
    return [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]


def test_one_command_line_one_run_folder(two):
    """Only the first process writes and prints, and every test image counts once."""
    run = two.folder / "run"
    assert json.loads(two.out)["num_images"] == 179
    assert two.err.count("writing to") == two.err.count("epoch 1/1") == 1
    assert sorted(path.name for path in two.folder.iterdir()) == ["0.json", "1.json", "run"]
    assert [event["event"] for event in events(run)] == ["started", "epoch", "finished"]
    assert len((run / "evaluation" / "predictions.csv").read_text().splitlines()) == 1 + 179
    assert json.loads((run / "environment.json").read_text())["processes"] == 2


@pytest.mark.slow
def test_a_mistake_is_reported_once(tmp_path):
    ended = torchrun(2, *TRAIN, *FAST, "--set", "accumulate=126", "--out", tmp_path / "run")
    assert ended.returncode != 0
    assert ended.stderr.count("error: A batch of 250 images cannot be divided among 2 processes and 126 parts") == 1
    assert "exitcode  : 2" in ended.stderr
    assert not any(tmp_path.iterdir())


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """A run of two processes that nothing happened to."""
    run = tmp_path_factory.mktemp("unbroken") / "run"
    ended = torchrun(2, *TRAIN, *FAST, "--epochs", "4", "--checkpoint-every", "2", "--out", run)
    assert ended.returncode == 0, ended.stderr
    return run


def interrupted(run, number, *options, whom):
    """Start a run as `unbroken` is, and send the signal to `whom` after a checkpoint within the second epoch."""
    command = [*TORCHRUN, "--nproc-per-node", "2", *options, *TRAIN, *FAST, "--epochs", "4", "--checkpoint-every", "2"]
    with subprocess.Popen(
        [*command, "--out", str(run)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
    ) as agent:
        while not any(path.name >= "step-000006" for path in (run / "checkpoints").glob("step-*")):
            assert agent.poll() is None
            time.sleep(0.01)
        os.kill(whom(agent.pid), number)
        said, _ = agent.communicate()
    return agent.returncode, said


def last_process(agent):
    return int(Path(f"/proc/{agent}/task/{agent}/children").read_text().split()[-1])


def same(run, other):
    a, b = (load_safetensors(path / "model" / "model.safetensors") for path in (run, other))
    return a.keys() == b.keys() and all((a[name] == b[name]).all() for name in a) and rows(run) == rows(other)


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="processes are found in /proc")


@needs_proc
@pytest.mark.slow
def test_a_process_that_is_killed_costs_nothing(tmp_path, unbroken):
    """torchrun starts all of them again, and they go on with their run."""
    status, said = interrupted(tmp_path / "run", signal.SIGKILL, "--max-restarts", "3", whom=last_process)
    assert status == 0, said
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert "Resuming after step" in said
    assert same(tmp_path / "run", unbroken)


@pytest.mark.slow
@pytest.mark.parametrize("whom", [lambda agent: agent, pytest.param(last_process, marks=needs_proc)])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_all_after_the_same_step(tmp_path, unbroken, number, whom):
    """Sent to torchrun, or to one process alone; the run is kept, and goes on bit for bit."""
    _, said = interrupted(tmp_path / "run", number, whom=whom)
    assert said.count("Resume with") == 1
    assert events(tmp_path / "run")[-1]["event"] == "stopped"
    reached = events(tmp_path / "run")[-1]["step"]
    assert (tmp_path / "run" / "checkpoints" / f"step-{reached:06}" / "manifest.json").exists()
    ended = torchrun(2, "-m", "classicnets", "train", "--resume", tmp_path / "run")
    assert ended.returncode == 0, ended.stderr
    assert same(tmp_path / "run", unbroken)


@pytest.mark.slow
def test_a_full_disk_ends_all_processes_and_is_reported_once(tmp_path, unbroken):
    run = shutil.copytree(unbroken, tmp_path / "run")
    (run / "report.html").unlink()  # as long as it is there, the run is finished, and nothing would be trained
    shutil.rmtree(run / "checkpoints" / sorted(path.name for path in (run / "checkpoints").iterdir())[-1])
    ended = subprocess.run(
        ["bash", "-c", 'ulimit -f 100; exec "$@"', "-", *TORCHRUN, "--nproc-per-node", "2", "-m", "classicnets",
         "train", "--resume", str(run)],
        capture_output=True, text=True, env=environment(), check=False,
    )  # fmt: skip
    assert ended.stderr.count("error: Cannot write") == 1, ended.stderr
    assert "exitcode  : 6" in ended.stderr  # torchrun may end the others first
