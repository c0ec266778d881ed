"""The validation set against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss

from excite.data.preprocessing import Preprocessing
from excite.data.sources import PixelSubset
from excite.system.world import World
from excite.training.validation import Validation
from tests.training.conftest import CLASSES, SIZE, full_net, problem


def test_loss_and_accuracy_are_scikit_learns() -> None:
    pixels, targets = problem(40)
    model = full_net()
    validation = Validation(PixelSubset(pixels), targets, Preprocessing(SIZE))
    loss, accuracy = validation.evaluate(
        model, device=torch.device("cpu"), precision="float32", world=World()
    )
    mean, std = (np.array(values) for values in (Preprocessing(SIZE).mean, Preprocessing(SIZE).std))
    images = torch.from_numpy(((pixels / 255 - mean) / std).transpose(0, 3, 1, 2)).float()
    with torch.no_grad():
        probabilities = model.eval()(images).double().softmax(dim=1).numpy()
    assert loss == pytest.approx(log_loss(targets, probabilities, labels=range(CLASSES)), rel=1e-5)
    assert accuracy == accuracy_score(targets, probabilities.argmax(axis=1))
