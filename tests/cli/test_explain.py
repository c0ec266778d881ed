"""excite explain: files written, errors in one line, pictures only on request."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

import excite
from excite.explain.run_gates import fold_run
from tests.conftest import SMALL, Command, make_pictures


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with attention on pictures of three colors."""
    place = tmp_path_factory.mktemp("explain")
    data = make_pictures(place / "data", each=30)
    options = SMALL | {"model": "cifar_resnet20", "model_options": {}, "attention": "se", "image_size": 32}
    excite.train(data, out=str(place / "run"), epochs=2, quiet=True, **options)
    return place


@pytest.mark.slow
def test_images_are_explained(excite_command: Command, trained: Path, tmp_path: Path) -> None:
    image = trained / "data" / "a" / "p0_0.png"
    done = excite_command("explain", trained / "run", image, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "adds up to the logit" in done.stdout
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "explain.html",
        "explanation.json",
        "maps",
    }
    [found] = json.loads((tmp_path / "out" / "explanation.json").read_text())["images"]
    total = sum(map(sum, found["map"])) + found["bias"]
    assert total == pytest.approx(found["logit"], abs=1e-4)
    assert Image.open(tmp_path / "out" / "maps" / "0001.png").size == (224, 224)
    page = (tmp_path / "out" / "explain.html").read_text()
    assert "image/jpeg" not in page
    excite_command("explain", trained / "run", image, "--thumbnails", "--out", tmp_path / "shown")
    assert "image/jpeg" in (tmp_path / "shown" / "explain.html").read_text()


@pytest.mark.slow
def test_a_run_with_its_maps_gates_and_shortcuts(
    excite_command: Command, trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    boxes = ["path,left,top,right,bottom"]
    boxes += [f"{path},2,2,20,18" for path in excite.Run.open(trained / "run").manifest.table["path"]]
    (tmp_path / "boxes.csv").write_text("\n".join(boxes))
    done = excite_command(
        "explain", trained / "run", "--json", "--out", out, "--objects", tmp_path / "boxes.csv"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["faithfulness"]
    assert {each["rival"] for each in found["rivals"]} == {"random", "middle", "edges", "random head"}
    assert found["pointing"]["images"] == found["images"]
    done = excite_command("explain", trained / "run", "--attention", "--shortcuts", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "layer3.2.bn2" in done.stdout
    assert "mean color only" in done.stdout
    attention = json.loads((out / "attention.json").read_text())
    assert len(attention["sites"]) == 9
    accuracy = f"Accuracy {100 * attention['accuracy']:.2f} % on the images without their mirror images;"
    assert accuracy in (out / "explain.html").read_text()
    tests = json.loads((out / "shortcuts.json").read_text())["tests"]
    # The classes are colors.
    assert {test["name"]: test["telling"] for test in tests}["frame"]
    page = (out / "explain.html").read_text()
    assert page.count("<script>") == 1
    assert "default-src 'none'" in page


@pytest.mark.slow
def test_folding_takes_the_tolerance_of_the_report(trained: Path) -> None:
    folding = fold_run(trained / "run", tolerance=10.0)
    assert len(folding.folded) == 9


@pytest.mark.slow
def test_wrong_use_is_one_line(excite_command: Command, trained: Path, tmp_path: Path) -> None:
    run, image = trained / "run", trained / "data" / "a" / "p0_0.png"
    for arguments, text in (
        ([tmp_path / "no.jpg"], "no.jpg"),
        ([image, "--class", "bb"], "unknown class 'bb' (did you mean"),
        ([image, "--attention"], "mutually exclusive"),
        ([image, "--out", trained / "data" / "out"], "data"),
        ([image, "--out", run], "run"),
        (["--objects", tmp_path / "no.csv"], "no.csv"),
    ):
        done = excite_command("explain", run, *arguments)
        assert done.returncode != 0
        assert text in done.stderr
        assert done.stderr.strip().splitlines()[-1].startswith("excite: error: ")
        assert not done.stdout
    plain = tmp_path / "plain"
    excite.train(trained / "data", out=str(plain), epochs=1, quiet=True, attention="none", **SMALL)
    done = excite_command("explain", plain, "--attention")
    assert "has no attention" in done.stderr


@pytest.mark.slow
def test_explain_in_python_with_arrays(trained: Path) -> None:
    import numpy as np

    classifier = excite.Classifier.load(trained / "run")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 40, 30, 3), dtype=np.uint8)
    found = excite.explain(classifier, pixels, label="b")
    assert [each.label for each in found] == ["b", "b"]
    for each, prediction in zip(found, classifier.predict(pixels), strict=True):
        assert each.predicted == prediction.label
        assert each.probability == pytest.approx(prediction.probabilities["b"], abs=1e-6)
        assert each.adds_up
