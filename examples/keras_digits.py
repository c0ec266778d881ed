"""Squeeze-and-Excitation in Keras: compile, fit, and evaluate a small DenseNet on handwritten digits.

    KERAS_BACKEND=jax python examples/keras_digits.py        # or tensorflow, or torch

scikit-learn includes 1,797 digits of 8 x 8 pixels; a quarter of them is the test set.
"""

from __future__ import annotations

import time

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import excite.keras

keras.utils.set_random_seed(0)
digits = load_digits()
images = (digits.images[..., np.newaxis] / 16).astype("float32")
train_images, test_images, train_labels, test_labels = train_test_split(
    images, digits.target, test_size=0.25, stratify=digits.target, random_state=0
)

model = excite.keras.densenet.build(
    image_size=8,
    in_chans=1,
    num_classes=10,
    stem="cifar",
    block_config=(4, 4),
    growth_rate=12,
    init_channels=24,
    attention="se",
    placement="block",
)
model.summary()

batch_size, epochs = 64, 20
steps = epochs * -(-len(train_images) // batch_size)
model.compile(
    optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.01, steps)),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
start = time.perf_counter()
model.fit(train_images, train_labels, batch_size=batch_size, epochs=epochs, verbose=2)
loss, accuracy = model.evaluate(test_images, test_labels, verbose=0)
print(
    f"{keras.config.backend()}: accuracy {accuracy:.2%} on {len(test_images)} test images, "
    f"trained in {time.perf_counter() - start:.0f} s"
)
