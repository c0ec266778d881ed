"""Everything is checked before a run is written, and a run is reopened with its options and images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import excite
from excite.config.train_config import TrainConfig
from excite.errors import BAD_USAGE, ExciteError
from excite.pipeline.prepare_run import _other_folder_text, prepare_run, reopen_run
from excite.runs.run import Run
from excite.system.progress import Display
from excite.system.world import World
from tests.conftest import SMALL

OPTIONS: dict[str, Any] = SMALL | {"epochs": 2}


class Notes(Display):
    """Collects the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def detail(self, text: str) -> None:
        self.notes.append(text)


def prepared(pictures: Path, out: Path, display: Display | None = None, **options: Any) -> Run:
    config = TrainConfig(data=str(pictures)).replace(**OPTIONS | options)
    return prepare_run(config, out, World(), display or Display(), None).run


def test_wrong_options_leave_nothing_behind(pictures: Path, tmp_path: Path) -> None:
    wrong: list[dict[str, Any]] = [
        {"model": "densenet122"},
        {"attention": "see"},
        {"placement": "finally"},
        {"augment_options": {"rotate": 3}},
        {"attention_options": {"reductoin": 3}},
        {"model": "resnet18", "attention": "se", "placement": "final"},
        {"group_pattern": "("},
        {"weights": str(tmp_path / "none.safetensors")},
        {"batch_size": 9, "accumulation_steps": 2},
        {"device": "tpu"},
        {"precision": "float16"},
        {"model": "cifar_resnet20", "model_options": {}, "image_size": 3},
    ]
    for options in wrong:
        with pytest.raises(ExciteError):
            excite.train(pictures, out=str(tmp_path / "run"), quiet=True, **(OPTIONS | options))
        assert not (tmp_path / "run").exists(), options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 128}, "a batch of 128 images is too large for 42 training images"),
        (
            {"batch_size": 9, "accumulation_steps": 2},
            r"9 images cannot be divided into 2 equal pieces .1 process",
        ),
        ({"batch_size": 2, "accumulation_steps": 4}, "2 images cannot be divided into 4 equal pieces"),
    ],
)
def test_a_batch_that_cannot_be_made_is_refused(
    pictures: Path, tmp_path: Path, options: dict[str, int], message: str
) -> None:
    with pytest.raises(ExciteError, match=f"batch_size: {message}") as raised:
        prepared(pictures, tmp_path / "run", **options)
    assert raised.value.exit_code == BAD_USAGE
    assert "--batch-size" in str(raised.value.hint)


def test_a_run_begins_with_its_data_options_and_environment(pictures: Path, tmp_path: Path) -> None:
    run = prepared(pictures, tmp_path / "run")
    assert {file.name for file in run.path.iterdir()} == {
        "audit.json", "config.yaml", "environment.json", "manifest.csv",
    }  # fmt: skip
    table = run.manifest.table
    assert table["split"].value_counts().to_dict() == {"train": 42, "val": 6, "test": 12}
    assert table["sha256"].str.len().eq(64).all()
    assert run.config.out == str(run.path)
    assert run.config.recipe == "scratch"
    assert json.loads((run.path / "environment.json").read_text())["seed"] == run.config.seed


@pytest.mark.slow
def test_the_same_seed_prepares_the_same_split_and_weights(pictures: Path, tmp_path: Path) -> None:
    config = TrainConfig(data=str(pictures)).replace(**OPTIONS)
    one, same, other = (
        prepare_run(config.replace(seed=seed), tmp_path / f"{number}", World(), Display(), None)
        for number, seed in enumerate((3, 3, 4))
    )
    assert one.manifest.table["split"].tolist() == same.manifest.table["split"].tolist()
    assert one.manifest.table["split"].tolist() != other.manifest.table["split"].tolist()
    weights = [next(each.model.parameters()) for each in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_near_duplicates_across_a_random_split_are_reported(pictures: Path, tmp_path: Path) -> None:
    counterpart: dict[str, str] = {}
    for number, original in enumerate(sorted((pictures / "a").glob("p*.png"))[:20]):
        # The same pixels in other bytes: files of equal bytes are always in the same split.
        copy = pictures / "a" / f"again_{number}.png"
        with Image.open(original) as image:
            image.save(copy, compress_level=0)
        counterpart |= {original.name: copy.name, copy.name: original.name}
    display = Notes()
    run = prepared(pictures, tmp_path / "run", display, split="random", near_duplicates=True)
    split = {Path(path): split for path, split in run.manifest.table[["path", "split"]].to_numpy()}
    test = [path for path, where in split.items() if where == "test"]
    counterparts = [path.with_name(counterpart[path.name]) for path in test if path.name in counterpart]
    copies = sum(split.get(path) == "train" for path in counterparts)
    assert copies > 0
    expected = f"{copies} of {len(test)} test images have a near-duplicate in the training set"
    assert any(note.startswith(expected) for note in display.notes)


def test_a_loaded_head_is_not_replaced(pictures: Path, tmp_path: Path) -> None:
    torch.manual_seed(9)
    model = excite.create_model(OPTIONS["model"], num_classes=3, **OPTIONS["model_options"])
    state = model.state_dict()
    save_file(state, tmp_path / "whole.safetensors")
    save_file({k: v for k, v in state.items() if "classifier" not in k}, tmp_path / "trunk.safetensors")
    for name, new_head in (("whole", False), ("trunk", True)):
        display = Notes()
        config = TrainConfig(
            data=str(pictures), recipe="finetune", weights=str(tmp_path / f"{name}.safetensors")
        )
        found = prepare_run(config.replace(**OPTIONS), tmp_path / name, World(), display, None)
        assert found.new_head == new_head
        assert torch.equal(next(found.model.parameters()), next(model.parameters()))
        assert any(f"{name}.safetensors: " in note for note in display.notes)


def test_a_run_is_reopened_as_it_began(pictures: Path, tmp_path: Path) -> None:
    run = prepared(pictures, tmp_path / "run")
    again = reopen_run(run.path, Display())
    assert again.config == run.config
    pd.testing.assert_frame_equal(again.manifest.table, run.manifest.table)


@pytest.mark.parametrize("harm", ["changed", "removed", "damaged"])
def test_a_run_whose_images_have_changed_is_not_resumed(pictures: Path, tmp_path: Path, harm: str) -> None:
    run = prepared(pictures, tmp_path / "run")
    victim = pictures / "b" / "p3_3.png"
    if harm == "changed":
        victim.write_bytes((pictures / "b" / "p4_4.png").read_bytes())
    elif harm == "removed":
        victim.unlink()
    else:
        victim.write_bytes(victim.read_bytes()[:60])
    what = r"p3_3\.png: the image has changed since the run began"
    if harm == "removed":
        what = r"1 of 60 images are missing, such as .*p3_3\.png \(restore them"
    with pytest.raises(ExciteError, match=what) as raised:
        reopen_run(run.path, Display())
    hint = "restore them" if harm == "removed" else "without --resume"
    assert hint in str(raised.value.hint)


def test_a_folder_without_a_run_is_not_reopened(tmp_path: Path) -> None:
    with pytest.raises(ExciteError, match="there is no such run"):
        reopen_run(tmp_path / "nowhere", Display())


def test_weights_of_a_grayscale_network_are_refused_in_one_line(pictures: Path, tmp_path: Path) -> None:
    """They would leave the first layer at random values."""
    model = excite.create_model("cifar_resnet20", num_classes=3, in_chans=1)
    save_file(model.state_dict(), tmp_path / "gray.safetensors")
    options = SMALL | {"model": "cifar_resnet20", "model_options": {}, "image_size": 32}
    with pytest.raises(ExciteError, match=r"images with 1 channel \(conv1\.weight\); images are read with 3"):
        prepared(pictures, tmp_path / "run", weights=str(tmp_path / "gray.safetensors"), **options)
    assert not (tmp_path / "run").exists()


def test_a_run_that_takes_the_folder_is_named_with_the_way_to_continue_it(tmp_path: Path) -> None:
    wanted, other = tmp_path / "run", tmp_path / "run-2"
    assert _other_folder_text(wanted, wanted) == ""
    unfinished = _other_folder_text(wanted, other)
    assert unfinished.endswith(f"not finished; to continue it: excite train --resume --out {wanted}")
    wanted.mkdir()
    (wanted / "metrics.json").write_text("{}")
    assert _other_folder_text(wanted, other) == f"{wanted} is a run already"
