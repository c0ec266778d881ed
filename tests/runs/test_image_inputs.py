"""Images from memory and from folders give the predictions that their files give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor, to_tensor

from excite.data.preprocessing import Preprocessing
from excite.errors import ExciteError
from excite.models.catalog import create_model
from excite.runs.classifier import Classifier
from excite.runs.image_inputs import single_images, to_image
from tests.conftest import make_pictures


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    torch.manual_seed(0)
    return Classifier(create_model("cifar_resnet20", num_classes=2), {}, ("a", "b"), Preprocessing(32))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("inputs") / "pictures", classes=2, each=3)


def test_every_form_of_an_image_has_the_same_prediction(classifier: Classifier, folder: Path) -> None:
    paths = sorted(folder.rglob("*.png"))
    opened = [Image.open(path) for path in paths]
    arrays = [np.asarray(image) for image in opened]
    expected = [each.probabilities for each in classifier.predict(paths)]
    forms = {
        "folder": folder,
        "text": [str(path) for path in paths],
        "PIL": opened,
        "arrays": arrays,
        "array": np.stack(arrays),
        "floats": np.stack(arrays) / 255,
        "tensor": torch.stack([to_tensor(image) for image in opened]),
        "uint8 tensor": torch.stack([pil_to_tensor(image) for image in opened]),
        "mixed": [folder / "a", *arrays[3:5], to_tensor(opened[5])],
        "generator": (image for image in opened),
    }
    for name, form in forms.items():
        found = classifier.predict(form)
        assert [each.probabilities for each in found] == expected, name
    for image in opened:
        image.close()


def test_progress_counts_images_and_paths_name_files_only(classifier: Classifier, folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    found = classifier.predict(folder, batch_size=4, progress=lambda *counts: seen.append(counts))
    assert seen == [(4, 6), (6, 6)]
    assert [each.path for each in found] == sorted(map(str, folder.rglob("*.png")))
    assert [each.path for each in classifier.predict(np.zeros((2, 9, 9), np.uint8))] == ["", ""]


@pytest.mark.parametrize(
    ("shape", "images"),
    [((8, 8), 1), ((8, 6, 3), 1), ((8, 6, 4), 1), ((8, 6, 1), 1), ((5, 8, 8), 5), ((5, 8, 6, 3), 5)],
)
def test_arrays_have_their_channels_last_and_tensors_first(shape: tuple[int, ...], images: int) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert len(single_images(array)) == images
    has_channels = len(shape) == 4 or (len(shape) == 3 and shape[-1] <= 4)
    tensor = torch.from_numpy(np.moveaxis(array, -1, -3).copy() if has_channels else array)
    assert len(single_images(tensor)) == images
    for one, other in zip(single_images(array), single_images(tensor), strict=True):
        assert to_image(one).tobytes() == to_image(other).tobytes()
        np.testing.assert_array_equal(np.asarray(to_image(one)).squeeze(), one.squeeze())


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 5, 8, 8), np.uint8), r"an array of shape \(2, 5, 8, 8\) \(use \(N, H, W, C\)"),
        (torch.zeros(2, 8, 8, 3), r"a tensor of shape \(2, 8, 8, 3\) \(use \(N, C, H, W\)"),
        (np.zeros(7), "an array of shape"),
        (np.full((8, 8), 300, np.int64), "pixels are int64"),
        (np.full((8, 8, 3), 2.5), "must be between 0 and 1, got 2.5 to 2.5"),
        (torch.randn(3, 64, 64), "do not normalize: the classifier does"),
        (np.full((8, 8), np.nan), "must be between 0 and 1"),
        (7, "cannot classify int"),
        ([(np.zeros((8, 8), np.uint8), 3)], "cannot classify int"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(
    classifier: Classifier, images: object, message: str
) -> None:
    with pytest.raises(ExciteError, match=message) as raised:
        classifier.predict(images)
    assert "\n" not in str(raised.value)


def test_deep_samples_use_the_range_of_the_training() -> None:
    torch.manual_seed(0)
    preprocessing = Preprocessing(32, intensity_range=(0.0, 4095.0))
    deep = Classifier(create_model("cifar_resnet20", num_classes=2), {}, ("a", "b"), preprocessing)
    samples = np.random.default_rng(0).integers(0, 4096, (40, 40)).astype(np.uint16)
    floats = samples.astype(np.float32)
    for image, forms in (
        (Image.fromarray(samples), (samples, samples.astype(np.int32))),
        (Image.fromarray(floats), (floats, torch.from_numpy(floats))),
    ):
        (expected,) = deep.predict(image)
        for form in forms:
            assert deep.predict(form)[0].probabilities == expected.probabilities
