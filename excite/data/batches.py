"""Training batches whose order, augmentation, and mixing depend only on (seed, epoch, step)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from excite.data.augmentation import DRAWS, Augmentation, augment, draw_mixing, mix, normalize, to_float
from excite.data.preprocessing import Preprocessing
from excite.data.sources import PixelSubset, to_device

_TRANSFORM = 1  # last part of the seeds of a plug-in's augmentation
BLOCK_SHARDS = 4
"""Shards whose images are mixed with each other when an epoch goes through blocks of shards."""
AHEAD = 2  # batches that a source which decodes images may prepare


def derive_seed(*parts: int) -> int:
    """One 63-bit seed from several integers; any other sequence of integers gives another seed."""
    # Not numpy's SeedSequence: it pads with zeros, so (1,) and (1, 0) would share one stream.
    digest = hashlib.sha256(",".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8]) >> 1


def evaluation_batches(
    source: PixelSubset, preprocessing: Preprocessing, batch_size: int, device: torch.device
) -> Iterator[Tensor]:
    """Normalized images (<= batch_size, 3, S, S), in order."""
    mean, std = (
        torch.tensor(preprocessing.mean, device=device),
        torch.tensor(preprocessing.std, device=device),
    )
    for start in range(0, len(source), batch_size):
        indices = np.arange(start, min(start + batch_size, len(source)))
        source.announce(np.arange(start, min(start + (1 + AHEAD) * batch_size, len(source))))
        yield normalize(to_float(source.take(indices, device)), mean, std)


def _in_blocks(rows: np.ndarray, shards: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Rows in random order, rearranged so that those of each block of shards follow each other."""
    place = random.permutation(int(shards.max()) + 1)  # of each shard among all
    block = place[shards[rows]] // BLOCK_SHARDS
    ordered: np.ndarray = rows[np.argsort(block, kind="stable")]
    return ordered


class _Copies:
    """The copies of each photo, to draw one of them.

    Args:
        photos: (N,) the photo number of each image, from 0.
    """

    def __init__(self, photos: np.ndarray) -> None:
        self._rows = np.argsort(photos, kind="stable")
        self._counts = np.bincount(photos)
        self._starts = np.cumsum(self._counts) - self._counts

    def __len__(self) -> int:
        return len(self._counts)

    def draw(self, photos: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """One image of each photo, drawn uniformly from its copies."""
        rows: np.ndarray = self._rows[self._starts[photos] + random.integers(self._counts[photos])]
        return rows


class TrainingBatches:
    """Batches of a training set: any part of any step of any epoch, in any order.

    A batch is divided into equal parts, one for each process and accumulation step. All parts of a step come
    from the same random draws, so that two processes train on the same images as one.

    Args:
        source: N images.
        targets: (N,) class indices; of several labels (N, L) numbers, NaN where the value is unknown.
        classes: number of classes.
        preprocessing: mean and std to normalize with.
        batch_size: images of one optimizer step, over all parts.
        parts: number of parts; must divide ``batch_size``.
        augmentation: the random changes of images.
        seed: of order, augmentation, and mixing.
        sampling: (N,) probability of each image to be drawn, with replacement; None: each once per epoch.
        photos: (N,) photo numbers: an epoch draws one image of each photo; None: each image is a photo.
        shards: (N,) the number of each image's shard, from 0: an epoch goes through blocks of
            ``BLOCK_SHARDS`` shards at random, and through the images of a block at random; None: through all
            images at random. Without ``sampling`` and ``photos`` only.
        device: where batches are computed.
    """

    def __init__(  # noqa: PLR0913 (each is one property of the batches)
        self,
        source: PixelSubset,
        targets: np.ndarray,
        *,
        classes: int,
        preprocessing: Preprocessing,
        batch_size: int,
        augmentation: Augmentation,
        seed: int,
        parts: int = 1,
        sampling: np.ndarray | None = None,
        photos: np.ndarray | None = None,
        shards: np.ndarray | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.device = device or torch.device("cpu")
        self.batch_size = batch_size
        self.parts = parts
        self._copies = None if photos is None else _Copies(photos)
        self._length = len(source) if self._copies is None else len(self._copies)
        self.steps = max(1, self._length // batch_size)  # an incomplete last batch is dropped
        self._source = source
        is_labels = np.ndim(targets) == 2
        self._targets = torch.from_numpy(np.asarray(targets, dtype=np.float32 if is_labels else np.int64))
        self.classes = classes
        self.mixes = augmentation.mixes
        self._mean = torch.tensor(preprocessing.mean, device=self.device)
        self._std = torch.tensor(preprocessing.std, device=self.device)
        self._augmentation = augmentation
        self._seed = seed
        self._sampling = sampling
        self._shards = shards
        self._order: tuple[int, np.ndarray] | None = None  # the current epoch and its order

    def order(self, epoch: int) -> np.ndarray:
        """Indices of the images of an epoch, (steps * batch_size,), in order."""
        if self._order is None or self._order[0] != epoch:
            random = np.random.default_rng(derive_seed(self._seed, epoch))
            count = self.steps * self.batch_size
            if self._sampling is not None:
                chosen = random.choice(len(self._source), size=count, p=self._sampling)
            else:
                chosen = random.permutation(self._length)
                if self._shards is not None:
                    chosen = _in_blocks(chosen, self._shards, random)
                chosen = np.resize(chosen, count)  # a set smaller than a batch is repeated
                if self._copies is not None:
                    chosen = self._copies.draw(chosen, random)
            self._order = (epoch, chosen)
        return self._order[1]

    def load(self, epoch: int, step: int, part: int) -> tuple[Tensor, Tensor]:
        """One part of a step's batch: images (B / parts, 3, S, S) and targets, (B / parts,) class indices or,
        if images are mixed, (B / parts, classes) probabilities; of several labels (B / parts, L)."""
        batch = self.order(epoch)[step * self.batch_size : (step + 1) * self.batch_size]
        generator = torch.Generator().manual_seed(derive_seed(self._seed, epoch, step))
        draws = torch.rand(self.batch_size, DRAWS, generator=generator)
        size = self.batch_size // self.parts
        places = torch.arange(part * size, (part + 1) * size)
        self._announce(epoch, step, places.numpy())
        if self._augmentation.transform is not None:
            return self._load_transformed(batch, draws, places, (self._seed, epoch, step))
        images, targets = self._take(batch, draws, places)
        if self._augmentation.mixes:
            mixing = draw_mixing(self.batch_size, self._augmentation, generator)
            partners = mixing.partners[places]
            if self.parts == 1:  # all partners are in this part
                others, other_targets = images[to_device(partners, self.device)], targets[partners]
            else:
                others, other_targets = self._take(batch, draws, partners)
            images, targets = mix(
                images, others, self._one_hot(targets), self._one_hot(other_targets), mixing
            )
        return normalize(images, self._mean, self._std), to_device(targets, self.device)

    def _load_transformed(
        self, batch: np.ndarray, draws: Tensor, places: Tensor, when: tuple[int, int, int]
    ) -> tuple[Tensor, Tensor]:
        """As ``load``, with a plug-in's augmentation; no other draw of the training has its seeds."""
        assert self._augmentation.transform is not None
        if self._augmentation.transform.whole_batch:  # every process computes it, and takes its part
            everywhere = torch.arange(self.batch_size)
            images, targets = self._take(batch, draws, everywhere, [derive_seed(*when, 0, _TRANSFORM)])
            images, targets = images[to_device(places, self.device)], targets[places]
        else:
            seeds = [derive_seed(*when, place, _TRANSFORM) for place in places.tolist()]
            images, targets = self._take(batch, draws, places, seeds)
        return normalize(images, self._mean, self._std), to_device(targets, self.device)

    def _announce(self, epoch: int, step: int, places: np.ndarray) -> None:
        """Let the source begin with this part of the batch, and of those that follow in the epoch."""
        for later in range(step, min(step + 1 + AHEAD, self.steps)):
            self._source.announce(self.order(epoch)[later * self.batch_size + places])

    def _take(
        self, batch: np.ndarray, draws: Tensor, places: Tensor, seeds: Sequence[int] = ()
    ) -> tuple[Tensor, Tensor]:
        """Augmented images at these places of the batch, on the device, and their targets, on the CPU."""
        indices = batch[places.numpy()]
        pixels = self._source.take(indices, self.device)
        images = augment(pixels, to_device(draws[places], self.device), self._augmentation, seeds)
        return images, self._targets[torch.from_numpy(indices)]

    def _one_hot(self, targets: Tensor) -> Tensor:
        return F.one_hot(targets, self.classes).float() if targets.ndim == 1 else targets
