"""The forecast counts the steps of training and the images of inference of a cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch.nn.modules.module import register_module_forward_pre_hook

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

from excite.config.train_config import TrainConfig
from excite.models.catalog import create_model
from excite.models.densenet import DenseNet
from excite.pipeline.experiment import run_experiment
from excite.study.plan import Arm, Plan
from excite.study.running.forecast import count_work
from excite.study.study import begin
from excite.system.progress import Display
from tests.conftest import make_pictures

NET = "densenet_bc_40_12"
SMALL = {"block_config": [1, 1], "growth_rate": 4, "init_channels": 4}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["scratch", "finetune"])
@pytest.mark.parametrize("copies", ["all", "one"])
@pytest.mark.parametrize("folds", [None, 3])
def test_steps_and_images_are_those_of_a_real_cell(
    recipe: str, copies: str, folds: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXCITE_CACHE", str(tmp_path / "cache"))  # or another case has computed the features
    data = make_pictures(tmp_path / "pictures", classes=2, each=30)
    base = TrainConfig(data=str(data), epochs=3, batch_size=8, device="cpu", precision="float32")
    base = base.replace(
        image_size=16, model_options=SMALL, augmented_copies=copies, recipe=recipe, augment="quick"
    )
    if recipe == "finetune":
        weights = tmp_path / "trunk.safetensors"
        state = create_model(NET, num_classes=5, **SMALL).state_dict()
        save_file({k: v for k, v in state.items() if not k.startswith("classifier")}, weights)
        base = base.replace(weights=str(weights), patience=99)
    arms = [Arm("a", {"model": NET, "attention": "none"})]
    study, _ = begin(Plan(base, arms, seeds=1, folds=folds), tmp_path / "study", None, Display())
    parts = study.parts(0, 0)
    within = parts.table.groupby(["split", "label"]).cumcount()
    photos = (parts.table["split"] + parts.table["label"] + (within // 3).astype(str)).to_numpy(dtype=object)
    copied = parts.with_columns(photo=photos, group=photos)
    expected = count_work(study.config("a"), copied, folded=folds is not None)

    done = {"steps": 0, "asked": 0}

    def count(module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        if isinstance(module, DenseNet):
            done["steps"] += module.training
            done["asked"] += 0 if module.training else len(inputs[0])

    config = study.config("a").replace(out=str(tmp_path / "run"), split="folder", device="cpu")
    hook = register_module_forward_pre_hook(count)
    try:
        run_experiment(config, images=copied)
    finally:
        hook.remove()
    assert done["steps"] == expected[0]
    assert done["asked"] == pytest.approx(expected[1], rel=0.25)
