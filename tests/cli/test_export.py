"""excite export. What the written file predicts is tested in tests/export/test_export.py."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from excite.evaluation.decision_rule import DecisionRule
from excite.export.export import Exported, Parity
from excite.export.formats import FORMATS
from tests.conftest import Command


def test_help_lists_the_formats(excite_command: Command) -> None:
    text = excite_command("export", "--help").stdout
    assert all(name in text for name in FORMATS)
    assert "excite export runs/photos --format onnx" in text


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere", "--format", "onnx"], 1, "nowhere: there is no such run"),
        (["nowhere", "--format", "karas"], 2, "did you mean 'keras'?"),
        (["nowhere"], 2, "--format"),
        (["nowhere", "--format", "onnx", "--push", "a/b"], 2, "--push: needs --format hub"),
        (["nowhere", "--format", "onnx", "--int8-accuracy", "-1"], 2, "--int8-accuracy"),
        (["nowhere", "--format", "keras", "--images", "0"], 2, "--images"),
        (["nowhere", "--format", "keras", "--ouut", "x"], 2, "--ouut"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_wrong_use_is_one_line(
    excite_command: Command, arguments: list[str], code: int, message: str
) -> None:
    done = excite_command("export", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_file_beside_which_nothing_can_be_written_is_one_line(
    excite_command: Command, trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    done = excite_command("export", trained / "run", "--format", "onnx", "--out", tmp_path / "file/x.onnx")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    inside = trained / "pictures" / "x.onnx"
    among = excite_command("export", trained / "run", "--format", "onnx", "--out", inside)
    assert among.returncode == 2
    assert "is inside the data, where nothing may be written" in among.stderr
    assert not inside.exists()


@pytest.fixture
def _exported(monkeypatch: pytest.MonkeyPatch) -> None:
    """An export of 14 classes to a path with a space; writing itself needs Keras."""
    made = Exported(
        Path("my runs/x.keras"),
        "keras",
        3 * 2**20,
        tuple("abcdefghijklmn"),
        96,
        Parity(images=40, batch_sizes=(1, 7), largest=3.2e-7, largest_log=1e-6, same_class=40),
        DecisionRule("c", 0.21),
        ("mind this",),
    )
    monkeypatch.setattr("excite.export.export.export_run", lambda run, formats, out, **options: [made])


@pytest.mark.slow
@pytest.mark.usefixtures("_exported")
def test_the_output_names_the_file_and_how_to_load_it(excite_command: Command, trained: Path) -> None:
    done = excite_command("export", trained / "run", "--format", "keras")
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert lines["written"] == "my runs/x.keras (3.0 MiB)"
    assert lines["takes"] == "uint8 images 96 x 96"
    assert lines["gives"] == "probabilities of 14 classes: a, b, c, d, e, f, g, h, i, j, k, l, ..."
    assert lines["predicts"].startswith("An image is predicted as c if its probability is at least 0.21, and")
    assert "on 40 images of the run, in batches of 1, 7:" in lines["checked"]
    assert "a probability is 3.2e-07, of its logarithm 1.0e-06; the same class for 40" in lines["checked"]
    assert lines["note"] == "mind this"
    python, option, code = shlex.split(lines["next"])
    assert (python, option) == ("python", "-c")
    assert "load_model('my runs/x.keras')" in code


@pytest.mark.slow
@pytest.mark.usefixtures("_exported")
def test_json_has_the_same_facts(excite_command: Command, trained: Path) -> None:
    document = json.loads(excite_command("export", trained / "run", "--format", "keras", "--json").stdout)
    assert document["pushed"] is None
    [found] = document["files"]
    assert (found["path"], found["image_size"], found["size"]) == ("my runs/x.keras", 96, 3 * 2**20)
    assert found["parity"]["largest"] == 3.2e-7
    assert (found["parity"]["images"], found["parity"]["same_class"]) == (40, 40)
    assert found["classes"] == list("abcdefghijklmn")
