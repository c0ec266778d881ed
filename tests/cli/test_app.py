"""The command line as a whole: help, errors in one line, JSON on standard output."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from excite.cli import doctor
from excite.errors import ExciteError
from tests.conftest import Command

VERBS = (
    "train",
    "evaluate",
    "predict",
    "explain",
    "serve",
    "export",
    "shard",
    "summary",
    "doctor",
    "study status",
    "study resume",
    "study export",
)


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_is_there_with_an_example(excite_command: Command, verb: str) -> None:
    done = excite_command(*verb.split(), "--help")
    assert done.returncode == 0
    assert done.stderr == ""
    epilog = done.stdout.rpartition("╯")[2]
    assert f"excite {verb or 'train'}" in " ".join(epilog.split())


@pytest.mark.parametrize("verb", ["train", "evaluate", "audit", "predict", "explain", "export"])
def test_help_fills_the_lines_of_a_narrow_terminal(
    excite_command: Command, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = [line.strip() for line in excite_command(verb, "--help").stdout.split("\n")]
    for line, after in pairwise(lines[2 : next(i for i, line in enumerate(lines) if line.startswith("╭"))]):
        assert len(line) <= 78
        if line and after:  # the next word would not have fitted
            assert len(f"{line} {after.split()[0]}") > 78


@pytest.mark.parametrize(("verb", "most"), [("train", 60), ("study run", 62)])
def test_help_is_one_screen_and_help_all_has_every_option(
    excite_command: Command, monkeypatch: pytest.MonkeyPatch, verb: str, most: int
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    short = excite_command(*verb.split(), "--help").stdout
    whole = excite_command(*verb.split(), "--help-all").stdout
    assert len(short.splitlines()) <= most
    assert max(map(len, short.splitlines())) <= 80
    assert 10 <= len(re.findall(r"^│ +(?:-\w,? )?--", short, re.M)) <= 16
    assert "--help-all" in short
    assert "--label-smoothing" not in short
    assert "--label-smoothing" in whole
    assert "Training loop" in whole
    assert excite_command(*verb.split(), "--help").stdout == short  # nothing of it stays


@pytest.mark.parametrize("verb", [*VERBS, "audit", "compare", "report", "split", "study run", "study add"])
def test_help_names_defaults_in_one_style_and_breaks_no_values(
    excite_command: Command, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = excite_command(*verb.split(), "--help").stdout
    words = " ".join(line.strip("│ ") for line in shown.splitlines())
    assert "Default: " not in words
    assert not re.search(r"[a-z]\|[a-z]+ *$", shown, re.MULTILINE)  # values of an option, cut in two
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_help_of_a_study_names_its_own_default_weights(excite_command: Command) -> None:
    words = " ".join(excite_command("study", "run", "--help").stdout.replace("│", " ").split())
    assert "[default: off; all arms are trained from scratch]" in words


def test_neither_help_nor_import_loads_torch() -> None:
    code = (
        "import sys, excite; from excite.cli.app import run; run(['train', '--help']);"
        "print(sorted({'torch', 'pandas', 'timm', 'sklearn', 'numpy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["trian", "x"], 2, "trian"),
        (["train"], 2, "no data given"),
        (["train", "digist"], 2, "did you mean 'digits'?"),
        (["train", "nowhere"], 2, "nowhere: there is no such file or folder"),
        (["train", "digits", "--epoch", "3"], 2, "--epochs"),
        (["train", "digits", "--epochs", "0"], 2, "epochs: must be at least 1, got 0"),
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


def test_without_the_extra_a_command_names_it(
    excite_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: object) -> None:
        raise ModuleNotFoundError("No module named 'torch._C'", name="torch._C")

    monkeypatch.setattr("excite.runs.run.Run.open", fail)
    done = excite_command("report", "runs/photos")
    assert (done.returncode, done.stdout) == (1, "")
    message = 'this command needs torch, which is not installed (pip install "excite[train]")'
    assert done.stderr == f"excite: error: {message}\n"


@pytest.mark.parametrize("place", [0, 3])
def test_quiet_shows_no_progress_but_the_result(trained: Path, excite_command: Command, place: int) -> None:
    arguments: list[object] = ["evaluate", trained / "run", trained / "pictures"]
    arguments.insert(place, "--quiet")
    done = excite_command(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "accuracy" in done.stdout
    failed = excite_command("evaluate", trained / "nowhere", "--quiet")
    assert failed.stderr.count("\n") == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands_and_options(shell: str) -> None:
    """As the script of --install-completion asks."""
    typed = "excite predict --se"
    words = {"COMP_WORDS": typed, "COMP_CWORD": "2", "_TYPER_COMPLETE_ARGS": typed}
    environment = {**os.environ, **words, "_EXCITE_COMPLETE": f"complete_{shell}"}
    environment["_TYPER_COMPLETE_FISH_ACTION"] = "get-args"
    call = [sys.executable, "-m", "excite"]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
    assert "--set" in done.stdout
    assert "--device" not in done.stdout


def test_debug_shows_where(excite_command: Command) -> None:
    assert "Traceback" in excite_command("train", "nowhere", "--debug").stderr


@pytest.mark.slow
def test_json_is_one_document_and_nothing_else(trained: Path, excite_command: Command) -> None:
    for arguments in (
        ["evaluate", trained / "run", "--json"],
        ["evaluate", trained / "run", trained / "pictures", "--json"],
        ["predict", trained / "run", trained / "pictures" / "b" / "p3_3.png", "--json"],
        ["summary", "densenet_bc_40_12", "--json"],
        ["doctor", "--json"],
    ):
        done = excite_command(*arguments)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "excite: interrupted\n"),
        (
            ExciteError("stopped", hint="continue with: excite train --resume", exit_code=143),
            143,
            "excite: stopped (continue with: excite train --resume)\n",
        ),
        (ExciteError("broken"), 1, "excite: error: broken\n"),
    ],
)
def test_what_the_user_stopped_is_not_called_an_error(
    excite_command: Command, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, line: str
) -> None:
    def stopped(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr(doctor, "_import", stopped)
    done = excite_command("doctor")
    assert (done.returncode, done.stderr) == (code, line)
