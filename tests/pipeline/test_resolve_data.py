"""Options that depend on the data: split, input, and evaluation."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest
import torch

from excite.config.train_config import TrainConfig
from excite.data.intensity import SampleExtremes
from excite.data.manifest import Manifest
from excite.errors import BAD_USAGE, ExciteError
from excite.pipeline.resolve_data import check_evaluation_options, resolve_images
from excite.pipeline.resolver import Resolver
from tests.pipeline.resolved import manifest, resolved


@pytest.mark.parametrize(
    ("size", "weights", "expected"),
    [
        ((8, 8), None, 16),
        ((28, 28), None, 32),
        ((33, 90), None, 48),
        ((96, 500), None, 96),
        ((97, 97), None, 96),
        ((3000, 2000), None, 96),
        ((3000, 2000), "w.safetensors", 288),
        ((100, 100), "w.safetensors", 112),
    ],
)
def test_the_input_is_as_large_as_the_images_up_to_a_limit(
    size: tuple[int, int], weights: str | None, expected: int
) -> None:
    assert resolved(*size, weights=weights).image_size == expected


@pytest.mark.parametrize(
    ("columns", "pattern", "expected"),
    [
        ({}, None, "random"),
        ({}, r"^(\d)", "grouped"),
        ({"group": ["p", "q"]}, None, "grouped"),
        ({"group": ["p", "q"], "split": ["train", "val"]}, None, "folder"),
    ],
)
def test_the_split_is_what_the_data_allows(
    columns: dict[str, object], pattern: str | None, expected: str
) -> None:
    assert resolved(columns=columns, group_pattern=pattern).split == expected


def test_digits_are_not_mirrored_and_photos_are() -> None:
    assert resolved(data="digits").flips == "none"
    assert resolved(data="photos").flips == "horizontal"
    assert resolved(data="digits", flips="both").flips == "both"


def resolver(device: str = "cpu", table: Manifest | None = None, **options: object) -> Resolver:
    images = manifest(300, 200) if table is None else table
    return Resolver(TrainConfig().replace(**options), images, torch.device(device))


@pytest.mark.parametrize(
    ("device", "weights", "limit"),
    [("cpu", None, 96), ("cuda", None, 224), ("cpu", "w.safetensors", 288), ("cuda", "w.safetensors", 288)],
)
def test_the_limit_depends_on_the_device_only_without_weights(
    device: str, weights: str | None, limit: int
) -> None:
    one = resolver(device, manifest(4000, 3000), weights=weights)
    resolve_images(one)
    assert one.config.image_size == limit
    assert "the images have 3000 pixels (median)" in one.reasons[0]


def test_the_size_is_that_of_the_median_shorter_side() -> None:
    table = pd.DataFrame({"path": [f"/x/{row}.png" for row in range(5)], "label": list("ababa")})
    table = table.assign(width=[40, 500, 70, 60, 33], height=[400, 50, 41, 900, 900])
    one = resolver("cuda", Manifest(table, ("a", "b")))
    resolve_images(one)
    assert one.config.image_size == 48  # of the sides 40, 50, 41, 60, 33: 41, rounded up to a multiple of 16


@pytest.mark.parametrize(
    ("options", "tta"),
    [
        ({"recipe": "probe"}, "flip"),
        ({"recipe": "finetune"}, "flip"),
        ({"recipe": "scratch"}, "none"),
        ({"recipe": "probe", "flips": "none"}, "none"),
        ({"recipe": "scratch", "tta": "crops"}, "crops"),
    ],
)
def test_trained_weights_predict_mirror_images_too_unless_mirroring_changes_the_class(
    options: dict[str, object], tta: str
) -> None:
    one = resolver(**options)
    resolve_images(one)
    assert one.config.tta == tta


def test_the_intensity_range_is_measured_and_given_as_a_reason() -> None:
    extremes = SampleExtremes("integer", 3, 3800, images=7)
    one = resolver(table=dataclasses.replace(manifest(300, 200), extremes=extremes))
    resolve_images(one)
    assert one.config.intensity_range == "0,4095"
    expected = "7 images have more than 8 bits per channel; their samples range from 3 to 3800"
    assert one.reasons[0] == f"intensity_range = 0,4095 ({expected})"


def test_no_class_is_positive_unless_it_is_named() -> None:
    """Its threshold decides which class is predicted, so that a smaller class is not reason enough."""
    assert resolved().positive is None
    assert resolved(positive="a").positive == "a"
    with pytest.raises(ExciteError, match="needs a positive class"):
        resolved(sensitivity=0.9)


@pytest.mark.parametrize(
    ("options", "where", "message"),
    [
        ({"folds": 5, "split": "folder"}, "--split", "cannot use the split of the data set"),
        ({"repeats": 2}, "--repeats", "has no effect without cross-validation .add --folds 5"),
        ({"jobs": 2}, "--jobs", "has no effect without cross-validation .add --folds 5"),
        ({"tta": "flip", "flips": "none"}, "--tta", "which --flips none excludes .omit --tta"),
        ({"positive": "c"}, "--positive", "unknown class 'c'"),
        ({"subgroups": "site"}, "--subgroups", "unknown column 'site'"),
    ],
)
def test_contradictions_name_the_option(options: dict[str, object], where: str, message: str) -> None:
    with pytest.raises(ExciteError, match=message) as raised:
        resolved(**options)
    assert raised.value.where == where
    assert raised.value.exit_code == BAD_USAGE


@pytest.mark.parametrize("name", ["sensitivity", "specificity"])
def test_a_criterion_needs_a_positive_class(name: str) -> None:
    table = pd.DataFrame({"path": [f"/x/{row}.png" for row in range(3)], "label": list("abc")})
    images = Manifest(table, ("a", "b", "c"))
    with pytest.raises(ExciteError, match=f"--{name}: needs a positive class .choose one with --positive"):
        check_evaluation_options(TrainConfig().replace(**{name: 0.9}), images)
    check_evaluation_options(TrainConfig().replace(positive="c", **{name: 0.9}), images)
