"""Arms have the same batches and initial weights for the same seed and fold, and only then."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

from excite.config.train_config import TrainConfig
from excite.pipeline import fit
from excite.study.plan import Plan, parse_arm
from excite.study.running import worker
from excite.study.study import begin
from excite.system.progress import Display
from excite.training.loop import Trainer
from tests.conftest import make_pictures

pytestmark = pytest.mark.slow  # 16 trainings

SMALL = {"block_config": [1, 1], "growth_rate": 4, "init_channels": 4}
NET = "densenet_bc_40_12"
OPTIONS = "".join(f",model_options.{name}={value}".replace(" ", "") for name, value in SMALL.items())
ARMS = [
    parse_arm(f"plain:{NET}{OPTIONS}"),
    parse_arm(f"layer:{NET}+se,placement=layer,reduction=2{OPTIONS}"),
    parse_arm("resnet:cifar_resnet20"),
    parse_arm("resnet-cbam:cifar_resnet20+cbam"),
]
EPOCHS = 2
CELLS = list(itertools.product(range(2), range(2)))


@dataclass
class Seen:
    """Weights that a training begins with, and the batches that it is given, in order."""

    start: Mapping[str, Tensor]
    images: list[Tensor] = field(default_factory=list)
    targets: list[Tensor] = field(default_factory=list)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int, int], Seen]:
    """Of each (arm, seed, fold) of a study with every augmentation that there is."""
    found: dict[tuple[str, int, int], Seen] = {}

    class Watched(Trainer):
        def __init__(self, model: torch.nn.Module, *args: Any, folder: Path, **options: Any) -> None:
            super().__init__(model, *args, folder=folder, **options)
            _, seed, _, fold = folder.parent.name.split("-")
            own = Seen({name: value.clone() for name, value in model.state_dict().items()})
            found[folder.parents[1].name, int(seed), int(fold)] = own
            load = self.batches.load

            def watched(*place: int) -> tuple[Tensor, Tensor]:
                images, targets = load(*place)
                own.images.append(images.clone())
                own.targets.append(targets.clone())
                return images, targets

            self.batches.load = watched  # type: ignore[method-assign]

    place = tmp_path_factory.mktemp("pairing")
    data = make_pictures(place / "pictures", classes=2)
    base = TrainConfig(data=str(data), epochs=EPOCHS, batch_size=8, device="cpu", precision="float32")
    plan = Plan(base.replace(image_size=32, augment="best"), ARMS, seeds=2, folds=2)
    study = begin(plan, place / "study", None, Display())[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "Trainer", Watched)
        worker.work(study, device="cpu", threads=1, name="test")
    assert set(found) == {(arm.name, seed, fold) for arm in ARMS for seed, fold in CELLS}
    return found


@pytest.mark.parametrize(("seed", "fold"), CELLS)
def test_all_arms_have_the_same_batches_with_the_same_augmentation(
    seen: dict[tuple[str, int, int], Seen], seed: int, fold: int
) -> None:
    first = seen[ARMS[0].name, seed, fold]
    assert len(first.images) > EPOCHS
    for arm in ARMS[1:]:
        other = seen[arm.name, seed, fold]
        assert len(other.images) == len(first.images)
        assert all(map(torch.equal, first.images, other.images)), arm.name
        assert all(map(torch.equal, first.targets, other.targets)), arm.name


@pytest.mark.parametrize(("seed", "fold"), CELLS)
@pytest.mark.parametrize(("plain", "with_attention"), [("plain", "layer"), ("resnet", "resnet-cbam")])
def test_with_attention_a_network_starts_from_the_weights_that_it_has_without(
    seen: dict[tuple[str, int, int], Seen], plain: str, with_attention: str, seed: int, fold: int
) -> None:
    without, beside = (seen[arm, seed, fold].start for arm in (plain, with_attention))
    assert set(without) < set(beside)
    assert all(torch.equal(value, beside[name]) for name, value in without.items())


def test_other_seeds_folds_and_epochs_have_other_draws(seen: dict[tuple[str, int, int], Seen]) -> None:
    """Otherwise the tests above would pass without any draws."""
    own = [seen["plain", seed, fold] for seed, fold in CELLS]
    for one, two in itertools.combinations(own, 2):
        assert not any(map(torch.equal, one.images, two.images))
    half = len(own[0].images) // EPOCHS
    assert not any(map(torch.equal, own[0].images[:half], own[0].images[half:]))
    starts = [seen["plain", seed, 0].start["features.conv0.weight"] for seed in (0, 1)]
    assert not torch.equal(*starts)
