"""`classicnets train`, used rightly and wrongly."""

import csv
import json
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys

import pytest
from PIL import Image

from classicnets import training
from classicnets.cli import BEGUN
from classicnets.errors import ConfigError
from classicnets.training.step import loop

TRAIN_DIGITS = (sys.executable, "-m", "classicnets", "train", "resnet20_cifar", "digits")
FAST = ("--set", "batch_size=256", "--set", "precision=fp32", "--set", "model.switches.depths=[1,1,1]")


def test_from_data_to_a_classifier_that_predicts(run_cli, tmp_path):
    run = tmp_path / "run"
    trained = run_cli(
        "train", "resnet20_cifar", "digits", "--epochs", 2, *FAST, "--out", run, "--seed", 3, "--tensorboard"
    )
    assert trained.code == 0
    assert list((run / "tensorboard").glob("events.out.tfevents.*"))
    assert "top-1" in trained.out
    assert str(run / "report.html") in trained.out
    assert "epoch 2/2" in trained.err
    assert "recipe" in trained.err
    resumed = run_cli("train", "--resume", run, "--json")
    assert resumed.code == 0
    assert json.loads(resumed.out)["run"] == str(run)
    assert "already finished" in resumed.err
    changed = run_cli("train", "--resume", run, "--set", "optim.lr=0.5")
    assert changed.code == 2
    assert "and is 0.5" in changed.err
    assert "--allow-change" in changed.err
    page = (run / "report.html").read_text()
    assert "<script src" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("resnet20_cifr", "digits"), 2, "resnet20_cifar"),
        (("resnet20_cifar", "digit"), 3, "digits"),
        (("resnet20_cifar", "nowhere/at/all"), 3, "nowhere/at/all"),
        (("resnet20_cifar", "digits", "--epochs", 0), 2, "epochs = 0"),
        (("resnet20_cifar", "digits", "--recipe", "smal-images"), 2, "small-images"),
        (("resnet20_cifar", "digits", "--set", "optim.lrate=1"), 2, "optim.lr"),
        (("resnet20_cifar", "digits", "--device", "quantum"), 2, "quantum"),
        (("resnet20_cifar", "digits", "--checkpoint-every", 0), 2, "checkpoint-every"),
        (("resnet20_cifar", "digits", "--threads", 0), 2, "threads = 0: give auto"),
        (("resnet20_cifar", "digits", "--threads", "-1"), 2, "threads = -1: give auto"),
        (("resnet20_cifar", "digits", "--threads", 99_999), 2, "threads = 99999: give auto"),
        (("resnet20_cifar", "digits", "--epoch", 1), 2, "--epochs"),
        (("resnet20_cifar",), 2, "Give a model and the data"),
        ((), 2, "Give a model and the data"),
        (("--resume", "nowhere"), 2, "not a run folder"),
        (("resnet20_cifar", "digits", "--resume", "nowhere"), 2, "Give only --resume RUN"),
        (("resnet20_cifar", "digits", "--on-nan", "ignore"), 2, "rollback"),
        (("resnet20_cifar", "digits", "--minutes", "nan"), 2, "above 0"),
        (("resnet20_cifar", "digits", "--minutes", -1), 2, "above 0"),
        (("resnet20_cifar", "digits", "--minutes", 1, "--epochs", 3), 2, "leave out --epochs"),
        (("resnet20_cifar", "digits", "--minutes", 0.001), 2, "Give at least --minutes"),
        (("--resume", "nowhere", "--minutes", 1), 2, "leave out --minutes"),
        (("resnet20_cifar", "digits", "--allow-change"), 2, "--allow-change needs --resume RUN"),
        (("resnet20_cifar", "digits", "--weights", "nowhere.pth"), 4, "nowhere.pth"),
    ],
)
def test_a_mistake_is_one_clear_message_and_a_code(run_cli, tmp_path, monkeypatch, args, code, said):
    monkeypatch.chdir(tmp_path)
    answer = run_cli("train", *args)
    assert answer.code == code
    assert said in " ".join(answer.err.split())
    assert answer.out == ""
    assert list(tmp_path.iterdir()) == []


def _image(path, size=(24, 24), colour=(200, 30, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise(size, 60).convert("RGB").save(path)
    return path


def _no_images(folder):
    (folder / "a").mkdir(parents=True)
    return folder


def _one_class(folder):
    for i in range(12):
        _image(folder / "only" / f"{i}.png")
    return folder


def _text_named_jpg(folder):
    _two_classes(folder)
    (folder / "a" / "text.jpg").write_text("not an image")
    return folder


def _truncated(folder):
    _two_classes(folder)
    whole = _image(folder / "a" / "cut.jpg", size=(120, 120)).read_bytes()
    (folder / "a" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    return folder


def _huge(folder):
    _two_classes(folder)
    header = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + (50_000).to_bytes(4, "big") * 2 + b"\x08\x02\x00\x00\x00"
    import zlib

    chunk = header[12:]
    (folder / "a" / "huge.png").write_bytes(
        header + zlib.crc32(chunk).to_bytes(4, "big") + b"\x00\x00\x00\x00IEND\xaeB`\x82"
    )
    return folder


def _missing_column(folder):
    folder.mkdir()
    (folder / "t.csv").write_text("file,label\na.png,x\n")
    return folder / "t.csv"


def _missing_file(folder):
    _two_classes(folder)
    (folder / "t.csv").write_text("path,label\na/0.png,a\nb/0.png,b\nb/none.png,b\n")
    return folder / "t.csv"


def _two_classes(folder):
    for name in ("a", "b"):
        for i in range(12):
            _image(folder / name / f"{i}.png")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_no_images, "image"),
        (_one_class, "class"),
        (_text_named_jpg, "text.jpg"),
        (_truncated, "cut.jpg"),
        (_huge, "huge.png"),
        (_missing_column, "path"),
        (_missing_file, "none.png"),
    ],
)
def test_bad_data_is_named_and_nothing_is_made_or_changed(run_cli, tmp_path, make, said):
    source = make(tmp_path / "data")
    before = {p: p.read_bytes() for p in (tmp_path / "data").rglob("*") if p.is_file()}
    answer = run_cli("train", "resnet20_cifar", source, "--out", tmp_path / "run")
    assert answer.code == 3
    assert said in answer.err
    assert not (tmp_path / "run").exists()
    assert {p: p.read_bytes() for p in (tmp_path / "data").rglob("*") if p.is_file()} == before


@pytest.mark.usefixtures("plain_reports")
def test_class_names_with_spaces_unicode_and_a_slash(run_cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ("deux mots", "图片", "a/b", "ünï-cödé")
    table = tmp_path / "t.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label"))
        for k, name in enumerate(names):
            for i in range(10):
                writer.writerow((_image(tmp_path / "images" / f"{k}-{i}.png").relative_to(tmp_path), name))
    run = os.path.join("runs", "mine")
    trained = run_cli(
        "train", "resnet20_cifar", f"csv:{table}", "--epochs", 1, *FAST, "--set", "batch_size=8", "--out", run
    )
    assert trained.code == 0, trained.err
    assert f"writing to {run}\n" in trained.err  # as it was given
    assert f"report: {os.path.join(run, 'report.html')}\n" in trained.out
    answer = run_cli("predict", run, tmp_path / "images" / "0-0.png", "--format", "json")
    assert {p["label"] for p in json.loads(answer.out)[0]["predictions"]} == set(names)


@pytest.mark.skipif(os.name == "nt", reason="limits of this kind exist on POSIX only")
def test_a_full_disk_is_said_and_ends_with_6(run_cli, tmp_path):
    """A file-size limit stands in for a full disk: writing fails in the same way, with an OSError."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        answer = run_cli("train", "resnet20_cifar", "digits", "--epochs", 1, *FAST, "--out", tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert answer.code == 6, answer.err
    assert "Cannot write" in answer.err


@pytest.mark.skipif(
    os.geteuid() == 0 and not os.path.exists("/proc"), reason="needs a folder that cannot be written to"
)
def test_a_place_that_cannot_be_written_ends_with_6(run_cli):
    answer = run_cli("train", "resnet20_cifar", "digits", "--epochs", 1, *FAST, "--out", "/proc/run")
    assert answer.code == 6
    assert "--out" in answer.err


SIGNALS = pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])


@SIGNALS
def test_a_stopped_training_says_how_to_go_on(run_cli, tmp_path, monkeypatch, number, code):
    train_step = loop.train_step

    def signalled(session, state, *args):
        loss = train_step(session, state, *args)
        if state.step == 3:
            os.kill(os.getpid(), number)
        return loss

    monkeypatch.setattr(loop, "train_step", signalled)
    answer = run_cli("train", "resnet20_cifar", "digits", "--epochs", 500, *FAST, "--out", tmp_path / "run")
    assert answer.code == code
    assert f"--resume {tmp_path / 'run'}" in answer.err
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


@pytest.mark.slow
@SIGNALS
def test_a_stopped_process_says_how_to_go_on(tmp_path, number, code):
    command = [*TRAIN_DIGITS, "--epochs", "500", "--out", "run"]
    with subprocess.Popen(
        [*command, *FAST], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stderr:
            if line.startswith("epoch"):
                break
        process.send_signal(number)
        _, err = process.communicate()
    assert process.returncode == code
    assert "--resume" in err
    assert "Traceback" not in err
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.skipif(
    subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode != 0
    if shutil.which("unshare")
    else True,
    reason="needs `unshare`, to mount a small disk",
)
def test_a_disk_that_is_full_and_one_that_is_read_only(tmp_path):
    """A real one of one megabyte: room for a checkpoint, and not for the next."""
    (tmp_path / "disk").mkdir()
    begin = shlex.join([*TRAIN_DIGITS, *FAST, "--epochs", "1", "--checkpoint-every", "1", "--out", "disk/run"])
    go_on = shlex.join([*TRAIN_DIGITS[:4], "--resume", "disk/run"])
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", f"""
            mount -t tmpfs -o size=1m none disk
            {begin}; echo full $? >&2; ls disk/run/checkpoints >&2
            mount -o remount,size=64m disk
            {go_on}; echo more $? >&2
            mount -o remount,ro disk
            {go_on}; echo read-only $? >&2
        """],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = done.stderr
    full, _, rest = said.partition("full 6\nstep-000001\n")
    assert rest, said
    assert full.splitlines()[-1].startswith("error: Cannot write")
    assert "Free some space" in full.splitlines()[-1]
    assert full.splitlines()[-1].endswith("disk/run")
    assert "more 0\n" in rest, said
    assert "read-only 6\n" in rest, said
    assert "Read-only file system" in rest.splitlines()[-2]
    assert "Traceback" not in said


def test_the_minutes_begin_with_the_command(run_cli, monkeypatch):
    """Its imports take seconds of them."""
    given = {}

    def start(*_, **options):
        given.update(options)
        raise ConfigError("Enough is known.")

    monkeypatch.setattr(training, "start", start)
    assert run_cli("train", "resnet20_cifar", "digits", "--minutes", 2).code == 2
    assert (given["minutes"], given["begun"]) == (2, BEGUN)
