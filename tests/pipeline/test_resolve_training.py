"""The recipe, and the options of its training loop."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from excite.config.train_config import TrainConfig
from excite.data.manifest import Manifest
from excite.errors import BAD_USAGE, ExciteError
from excite.pipeline.resolve import resolve
from excite.pipeline.resolve_training import resolve_loop, resolve_precision, resolve_recipe
from excite.pipeline.resolver import Resolver
from excite.system import devices
from tests.pipeline.resolved import TRAINED, manifest, resolved


def test_each_optimizer_has_its_own_learning_rate_and_a_given_one_stays() -> None:
    assert (resolved().lr, resolved(optimizer="sgd").lr, resolved(lr=0.3).lr) == (5e-4, 0.05, 0.3)


@pytest.mark.parametrize(
    "given",
    [
        {"epochs": 3},
        {"lr": 1e-3},
        {"augment": "none"},
        {"augment_options": {"rotation": 5}},
        {"augmented_copies": "all"},
        {"compile": False, "batch_size": 8},
    ],
)
def test_an_option_of_the_training_loop_selects_fine_tuning(given: dict[str, object]) -> None:
    assert resolved(**TRAINED).recipe == "probe"
    options = TrainConfig().replace(device="cpu", **TRAINED, **given)
    config, reasons = resolve(options, manifest(300, 200))
    assert config.recipe == "finetune"
    flag = f"--{list(given)[-1].replace('_', '-')}"
    assert f"recipe = finetune ({flag} is an option of the training loop)" in reasons
    with pytest.raises(ExciteError, match="has no effect with --recipe probe") as raised:
        resolved(**TRAINED, recipe="probe", **given)
    assert raised.value.where == flag


def test_other_options_leave_the_recipe_a_probe() -> None:
    given = {"balance": "weights", "flips": "both", "image_size": 64, "seed": 3, "tta": "none"}
    assert resolved(**TRAINED, **given).recipe == "probe"


def resolver(device: str = "cpu", groups: int = 2, **options: object) -> Resolver:
    table = pd.DataFrame({"path": [f"/x/{row}.png" for row in range(groups)], "label": "a"})
    table["label"] = ["a", "b"] * (groups // 2)
    return Resolver(TrainConfig().replace(**options), Manifest(table, ("a", "b")), torch.device(device))


@pytest.mark.parametrize(
    ("device", "groups", "options", "recipe", "reason"),
    [
        ("cuda", 900, {}, "scratch", "no pretrained weights"),
        ("cpu", 900, TRAINED, "probe", "pretrained weights and no GPU; --recipe finetune trains all weights"),
        ("cuda", 498, TRAINED, "probe", "pretrained weights, and 498 groups are too few for fine-tuning"),
        ("cuda", 500, TRAINED, "finetune", "pretrained weights, a GPU, and 500 groups"),
        ("cpu", 20, {**TRAINED, "attention": "se"}, "finetune", "se has no pretrained weights"),
    ],
)
def test_the_recipe_depends_on_weights_device_and_groups(
    device: str, groups: int, options: dict[str, object], recipe: str, reason: str
) -> None:
    one = resolver(device, groups, **options)
    resolve_recipe(one)
    assert one.config.recipe == recipe
    assert one.reasons == [f"recipe = {recipe} ({reason})"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": "probe"}, "probe needs pretrained weights .add --pretrained or --weights FILE"),
        ({"recipe": "finetune"}, "finetune needs pretrained weights"),
        ({**TRAINED, "recipe": "scratch"}, "scratch starts from random weights"),
    ],
)
def test_a_recipe_that_does_not_fit_the_weights_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ExciteError, match=message) as raised:
        resolve_recipe(resolver(**options))
    assert (raised.value.where, raised.value.exit_code) == ("--recipe", BAD_USAGE)


def test_fine_tuning_changes_pretrained_weights_more_gently() -> None:
    tuned, scratch = resolver(**TRAINED, recipe="finetune"), resolver()
    for one in (tuned, scratch):
        resolve_loop(one)
    assert tuned.config.lr == pytest.approx(0.4 * scratch.config.lr)
    assert (tuned.config.layer_decay, scratch.config.layer_decay) == (0.65, 1.0)
    assert (tuned.config.batch_norm, scratch.config.batch_norm) == ("frozen", "adapted")
    assert (tuned.config.monitor, scratch.config.monitor) == ("loss", "accuracy")
    assert (tuned.config.patience, scratch.config.patience) == (10, None)
    assert (tuned.config.augment, scratch.config.augment) == ("small", "standard")


@pytest.mark.parametrize(("recipe", "copies"), [("finetune", "one"), ("scratch", "all")])
def test_copies_of_a_photo_count_once_per_epoch_of_fine_tuning(recipe: str, copies: str) -> None:
    one = resolver(groups=12, **TRAINED, recipe=recipe)
    one.manifest = one.manifest.with_columns(photo=[f"p{row // 4}" for row in range(12)])
    resolve_loop(one)
    assert one.config.augmented_copies == copies
    expected = "augmented_copies = one (12 images show 3 photos; each counts once per epoch)"
    assert one.reasons == ([expected] if copies == "one" else [])


def test_a_probe_computes_in_float32_and_float16_needs_a_gpu() -> None:
    probe = resolver(**TRAINED, recipe="probe")
    resolve_precision(probe)
    assert (probe.config.precision, probe.reasons) == ("float32", [])
    with pytest.raises(ExciteError, match="float16 training needs a CUDA GPU"):
        resolve_precision(resolver(precision="float16"))


def test_the_fastest_precision_of_the_cpu_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    for multiplies, precision in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(devices, "multiplies_bfloat16", lambda multiplies=multiplies: multiplies)
        one = resolver()
        resolve_precision(one)
        assert one.config.precision == precision
        assert one.reasons[0].startswith(f"precision = {precision} (")


def test_keeping_tuned_weights_needs_fine_tuning() -> None:
    assert resolved(**TRAINED, recipe="finetune", keep="tuned").keep == "tuned"
    with pytest.raises(ExciteError, match="has no effect without fine-tuning") as raised:
        resolved(keep="tuned")
    assert raised.value.where == "--keep"
    with pytest.raises(ExciteError, match="has no effect with --recipe probe"):
        resolved(**TRAINED, recipe="probe", keep="tuned")
