"""The command line as a person or a script meets it."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file
from torch import Tensor

from ..conftest import Command, make_pictures

VERBS = ("train", "evaluate", "predict", "export", "summary", "doctor")
QUICK = ("--epochs", 2, "--batch-size", 8, "--device", "cpu")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures and a run made of them by the command line."""
    place = tmp_path_factory.mktemp("cli")
    make_pictures(place / "pictures")
    arguments = ["train", "pictures", *map(str, QUICK), "--out", "run"]
    subprocess.run([sys.executable, "-m", "excite", *arguments], cwd=place, check=True, capture_output=True)
    return place


def image_of(place: Path) -> Path:
    return place / "pictures" / "b" / "p3_3.png"


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_is_there_with_an_example(excite_command: Command, verb: str) -> None:
    done = excite_command(*([verb] if verb else []), "--help")
    assert done.returncode == 0
    assert done.stderr == ""
    assert verb == "doctor" or "excite train" in done.stdout or f"excite {verb} " in done.stdout


def test_neither_help_nor_import_loads_torch() -> None:
    code = (
        "import sys, excite; from excite.cli.app import run; run(['train', '--help']);"
        "print(sorted({'torch', 'pandas', 'timm', 'sklearn', 'numpy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["trian", "x"], 2, "trian"),
        (["train"], 2, "name the data"),
        (["train", "digist"], 2, "did you mean 'digits'?"),
        (["train", "nowhere"], 2, "nowhere: there is no such file or folder"),
        (["train", "digits", "--epoch", "3"], 2, "--epochs"),
        (["train", "digits", "--epochs", "0"], 2, "epochs: must be at least 1, not 0"),
        (["train", "digits", "--epochs", "many"], 2, "--epochs"),
        (["train", "digits", "--split", "randm"], 2, "did you mean 'random'?"),
        (["train", "digits", "--model", "densnet121"], 2, "did you mean 'densenet121'?"),
        (["train", "digits", "--set", "epocs=3"], 2, "did you mean 'epochs'?"),
        (["train", "digits", "--set", "attention_options.reductoin=3"], 2, "did you mean 'reduction'?"),
        (["train", "digits", "--config", "none.yaml"], 2, "none.yaml"),
        (["train", "digits", "--weights", "none.safetensors"], 1, "none.safetensors"),
        (["train", "digits", "--resume"], 1, "there is no such run"),
        (["evaluate", "norun"], 1, "norun: there is no such run"),
        (["predict", "norun", "x.jpg"], 1, "norun: there is no such run"),
        (["predict", "norun"], 2, "images"),
        (["summary", "resnt50"], 2, "did you mean 'resnet50'?"),
        (["summary", "densenet121", "--attention", "eac"], 2, "did you mean 'eca'?"),
        (["summary", "densenet121", "--image-size", "5"], 2, "needs at least"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_mistakes_get_one_clear_line(
    excite_command: Command, arguments: list[str], code: int, says: str
) -> None:
    done = excite_command(*arguments)
    assert done.returncode == code
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if "error" in line]
    assert len(errors) == 1
    assert errors[0].startswith("excite: error: ")
    assert says in errors[0]
    assert "Traceback" not in done.stderr


def test_debug_shows_where(excite_command: Command) -> None:
    assert "Traceback" in excite_command("train", "nowhere", "--debug").stderr


def test_train_prints_figures_with_their_n_and_what_to_do_next(place: Path) -> None:
    shutil.rmtree(place / "second", ignore_errors=True)
    arguments = ["train", "pictures", *map(str, QUICK), "--out", "second"]
    command = [sys.executable, "-m", "excite"]
    done = subprocess.run([*command, *arguments], cwd=place, capture_output=True, text=True, check=True)
    assert re.search(r"accuracy \d+\.\d\d% \(\d+\.\d\d-\d+\.\d\d\) on 12 images", done.stdout)
    following = done.stdout.splitlines()[-1].split()
    assert following[:2] == ["next", "excite"]
    again = subprocess.run([*command, *following[2:]], cwd=place, capture_output=True, text=True, check=True)
    assert "png" in again.stdout


def test_json_is_one_document_and_nothing_else(place: Path, excite_command: Command) -> None:
    for arguments in (
        ["train", place / "pictures", *QUICK, "--json"],
        ["evaluate", place / "run", "--json"],
        ["evaluate", place / "run", place / "pictures", "--json"],
        ["predict", place / "run", image_of(place), "--json"],
        ["summary", "densenet_bc_40_12", "--json"],
        ["doctor", "--json"],
    ):
        done = excite_command(*arguments)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)


def test_evaluate_writes_where_it_is_told(place: Path, excite_command: Command, tmp_path: Path) -> None:
    done = excite_command("evaluate", place / "run", place / "pictures", "--out", tmp_path / "out")
    assert "on 60 images" in done.stdout
    figures = json.loads((tmp_path / "out" / "metrics.json").read_text())["all"]
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert figures["n"] == len(rows) == 60
    assert sum(row["label"] == row["predicted"] for row in rows) / 60 == pytest.approx(
        figures["accuracy"]["value"]
    )
    assert (tmp_path / "out" / "confusion_matrix.png").read_bytes().startswith(b"\x89PNG")


def test_predict_answers_what_it_can_and_names_what_it_cannot(
    place: Path, excite_command: Command, tmp_path: Path
) -> None:
    (tmp_path / "bad.jpg").write_text("<html>")
    (tmp_path / "empty").mkdir()
    images = [
        image_of(place),
        tmp_path / "bad.jpg",
        place / "pictures" / "a" / "p1_1.png",
        tmp_path / "empty",
    ]
    done = excite_command("predict", place / "run", *images, "--format", "csv")
    assert done.returncode == 1
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["path"] for row in rows] == [str(images[0]), str(images[2])]
    assert all(float(row["probability"]) == max(float(row[f"p:{c}"]) for c in "abc") for row in rows)
    assert done.stderr.count("excite: error: ") == 2
    assert "bad.jpg" in done.stderr
    assert "empty: the folder holds no images" in done.stderr


def test_predict_takes_folders_and_prints_a_table(place: Path, excite_command: Command) -> None:
    done = excite_command("predict", place / "run", place / "pictures" / "a")
    assert len(done.stdout.splitlines()) == 21
    none = excite_command("predict", place / "run", place / "run" / "checkpoints")
    assert (none.returncode, none.stdout) == (2, "")
    assert "the folder holds no images" in none.stderr


def test_options_come_from_file_then_flags_then_set(excite_command: Command, tmp_path: Path) -> None:
    file = tmp_path / "options.yaml"
    file.write_text("epochs: 7\nlr: 1e-2\nseed: 4\nattention_options: {reduction: 8}\n")
    done = excite_command(
        *["train", "digits", "--config", file, "--lr", "0.5", "--seed", "5", "--set", "seed=6"],
        *["--set", "attention_options.squeeze=max", "--no-channels-last", "--print-config"],
    )
    options = yaml.safe_load(done.stdout)
    assert (options["epochs"], options["lr"], options["seed"], options["data"]) == (7, 0.5, 6, "digits")
    assert options["attention_options"] == {"reduction": 8, "squeeze": "max"}
    assert options["channels_last"] is False
    assert excite_command("train", "digits", "--print-config").stdout.count("\n") > 30


def test_summary_shows_layers_and_totals(excite_command: Command, place: Path) -> None:
    done = excite_command("summary", "densenet121", "--attention", "se")
    assert "8,111,016 parameters, 2.83" in done.stdout.splitlines()[-1]  # 7,978,856 + 132,160
    assert any(line.startswith("features.attention4") for line in done.stdout.splitlines())
    document = json.loads(excite_command("summary", "resnet50", "--json").stdout)
    assert document["parameters"] == 25_557_032  # torchvision's documentation
    assert "densenet_bc_40_12" not in excite_command("summary", place / "run").stderr


def start(place: Path, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "excite", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=place, env=environment, stderr=subprocess.PIPE, text=True)


def wait_for_epoch(process: subprocess.Popen[str], epoch: int) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if re.match(rf"epoch +{epoch} ", line):
            return
    pytest.fail("the training ended too early")


KILLED = ("--epochs", 6, "--batch-size", 8, "--augment", "best", "--seed", 9)


@pytest.fixture(scope="module")
def undisturbed(place: Path) -> dict[str, Tensor]:
    """The weights of a training that nothing interrupts."""
    assert start(place, "train", "pictures", *KILLED, "--out", "whole").wait(timeout=300) == 0
    return load_file(place / "whole" / "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_a_killed_training_goes_on_to_the_same_weights(
    place: Path, undisturbed: dict[str, Tensor], number: int, code: int
) -> None:
    cut = f"cut-{code}"
    process = start(place, "train", "pictures", *KILLED, "--out", cut)
    wait_for_epoch(process, 2)
    time.sleep(0.1)
    process.send_signal(number)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == code
    if number != signal.SIGKILL:
        assert "with a checkpoint" in errors
        assert "--resume" in errors
    assert not (place / cut / "metrics.json").exists()
    refused = start(place, "train", "pictures", "--out", cut, "--resume", "--epochs", 7)
    assert "--epochs: was 6 when the run began" in refused.communicate()[1]
    assert start(place, "train", "pictures", "--out", cut, "--resume").wait(timeout=300) == 0
    resumed = load_file(place / cut / "model.safetensors")
    assert all(resumed[name].equal(value) for name, value in undisturbed.items())
    assert (
        start(place, "train", "--out", cut, "--resume").wait(timeout=300) == 0
    )  # finished: says so, changes nothing


@pytest.mark.slow
def test_a_training_killed_before_its_first_checkpoint_begins_again_as_it_began(place: Path) -> None:
    options = ("--epochs", 2, "--batch-size", 8, "--seed", 11)
    process = start(place, "train", "pictures", *options, "--out", "early")
    assert process.stderr is not None
    for line in process.stderr:
        if "training, " in line and "validation, and" in line:
            break
    process.kill()
    process.communicate(timeout=300)
    assert not (place / "early" / "checkpoints").exists()
    assert start(place, "train", "--out", "early", "--resume").wait(timeout=300) == 0
    assert start(place, "train", "pictures", *options, "--out", "undisturbed").wait(timeout=300) == 0
    one, other = (load_file(place / name / "model.safetensors") for name in ("early", "undisturbed"))
    assert all(one[name].equal(other[name]) for name in one)


def test_changed_images_stop_a_resume(tmp_path: Path) -> None:
    make_pictures(tmp_path / "pictures")
    process = start(tmp_path, "train", "pictures", "--epochs", 50, "--batch-size", 8, "--out", "run")
    wait_for_epoch(process, 1)
    process.terminate()
    process.communicate(timeout=300)
    shutil.copy(tmp_path / "pictures" / "a" / "p0_0.png", tmp_path / "pictures" / "b" / "p0_0.png")
    again = start(tmp_path, "train", "pictures", "--out", "run", "--resume")
    assert "the image has changed since the run began" in again.communicate(timeout=300)[1]
    assert again.returncode == 1


def test_sites_lists_where_attention_can_go(excite_command: Command) -> None:
    done = excite_command("sites", "resnet18", "--stages", "4,5", "--placement", "post")
    assert done.stdout.splitlines()[1].split() == ["layer3.0", "after", "BasicBlock", "4", "256", "-"]
    assert done.stdout.splitlines()[-1] == "resnet18: 4 sites, 4 of them free"
    document = json.loads(excite_command("sites", "resnet18", "--where", "layer4.*", "--json").stdout)
    assert [site["path"] for site in document] == ["layer4.0.bn2", "layer4.1.bn2"]
    refused = excite_command("sites", "vit_tiny_patch16_224")
    assert refused.returncode == 2
    assert "name modules with where=" in refused.stderr


def test_summary_counts_inserted_attention(excite_command: Command) -> None:
    # SE-ResNet-50 of the paper: 2/16 sum N C^2, and with biases C + C/16 more a site.
    sites = [256] * 3 + [512] * 4 + [1024] * 6 + [2048] * 3
    more = sum(2 * width * width // 16 + width + width // 16 for width in sites)
    document = json.loads(excite_command("summary", "resnet50", "--attention", "se", "--json").stdout)
    assert document["parameters"] == 25_557_032 + more == 28_088_024


def test_summary_of_all_networks_of_the_papers(excite_command: Command) -> None:
    lines = excite_command("summary", "--table").stdout.splitlines()
    row = next(line for line in lines if line.startswith("ResNet-50"))
    figures = "25,557,032 25.6 M 28,088,024 28.1 M 3.858 3.86 3.872 3.87 24.8 23.29"
    assert row.split()[1:] == figures.split()
    refused = excite_command("summary", "resnet50", "--stages", "5")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "there is no attention to place" in refused.stderr
