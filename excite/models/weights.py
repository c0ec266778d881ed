"""Weights from a safetensors file into a model, by name, with a report of what did not fit."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from excite.errors import ExciteError
from excite.system.files import write_bytes

# Batch norm's count of steps: it changes no output, and files from other frameworks never have it.
_OPTIONAL_SUFFIX = "num_batches_tracked"

METADATA_OPTIONS = ("pad_type",)  # options of timm's networks that change no shape


@dataclass(frozen=True)
class WeightsReport:
    """Which tensors of a file were loaded into a model: parameters and buffers.

    Args:
        loaded: names whose values come from the file.
        missing: names of the model that are not in the file; they keep their values. Batch norm's
            ``num_batches_tracked`` is not counted.
        unexpected: names of the file that are not in the model.
        mismatched: (name, shape in the file, shape in the model); these keep their values, too.
        prefix: removed from the file's names, such as DataParallel's ``module.``.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    prefix: str = ""

    @property
    def complete(self) -> bool:
        """Whether every tensor of the model came from the file."""
        return not self.missing and not self.mismatched

    def __str__(self) -> str:
        counts = [f"{len(self.loaded)} of {self._wanted} tensors loaded"]
        for label in ("missing", "unexpected", "mismatched"):
            if names := getattr(self, label):
                counts.append(f"{len(names)} {label}")
        if self.prefix:
            counts.append(f"without the prefix {self.prefix!r} of the file's names")
        return ", ".join(counts)

    @property
    def _wanted(self) -> int:
        return len(self.loaded) + len(self.missing) + len(self.mismatched)

    def details(self) -> str:
        """One line for each name that was not loaded; empty if there is none."""
        lines = [f"missing     {name}" for name in self.missing]
        lines += [f"unexpected  {name}" for name in self.unexpected]
        lines += [
            f"mismatched  {name}: {in_file} in the file, {in_model} in the model"
            for name, in_file, in_model in self.mismatched
        ]
        return "\n".join(lines)


def load_weights(model: nn.Module, path: str | Path) -> WeightsReport:
    """Load the tensors of a safetensors file whose names and shapes are those of the model.

    A 1x1 convolution and a linear layer of the same size can load each other's weights.

    Raises:
        ExciteError: if the file is missing, damaged, or not safetensors, or if no tensor fits the model.
    """
    path = Path(path)
    source = _read(path)
    target = model.state_dict(keep_vars=True)
    prefix = _foreign_prefix(source.keys(), target.keys())
    source = {name.removeprefix(prefix): tensor for name, tensor in source.items()}
    fitting: dict[str, Tensor] = {}
    mismatched = []
    for name in target.keys() & source.keys():
        file_shape, model_shape = tuple(source[name].shape), tuple(target[name].shape)
        if _as_kernel(file_shape) == _as_kernel(model_shape):
            fitting[name] = source[name].reshape(model_shape)
        else:
            mismatched.append((name, file_shape, model_shape))
    if not fitting:
        names = f"the file has {min(source, default='none')!r}, the model {min(target, default='none')!r}"
        hint = "choose the network that the weights were trained with"
        raise ExciteError(f"none of its {len(source)} tensors fits the model: {names}", where=path, hint=hint)
    model.load_state_dict(fitting, strict=False)

    # A tensor with two names (tied weights) is stored under one of them.
    loaded_ids = {id(target[name]) for name in fitting}
    missing = [
        name
        for name, tensor in target.items()
        if name not in source and id(tensor) not in loaded_ids and not name.endswith(_OPTIONAL_SUFFIX)
    ]
    return WeightsReport(
        loaded=tuple(name for name in target if name in fitting),
        missing=tuple(missing),
        unexpected=tuple(sorted(source.keys() - target.keys())),
        mismatched=tuple(sorted(mismatched)),
        prefix=prefix,
    )


def fit_channels(weight: Tensor, in_chans: int) -> Tensor:
    """The first convolution of a network for RGB images, for images of another number of channels.

    One channel gets the sum over RGB, so that gray images give what they would as RGB; more channels repeat
    RGB, and the sum of the weights stays. As in timm.

    Args:
        weight: (out, 3, k, k).

    >>> import torch
    >>> fit_channels(torch.ones(8, 3, 5, 5), 1).unique()
    tensor([3.])
    """
    if in_chans == weight.shape[1]:
        return weight
    if in_chans == 1:
        return weight.sum(dim=1, keepdim=True)
    repeated = weight.repeat(1, -(-in_chans // 3), 1, 1)[:, :in_chans]
    return repeated * (3 / in_chans)


def _foreign_prefix(names: Collection[str], wanted: Collection[str]) -> str:
    """The prefix that a wrapper added to every name, such as ``module.`` or ``model._orig_mod.``.

    Empty if the names fit as they are, or do not fit without a prefix either.
    """
    prefix, most_matches = "", len(set(names) & set(wanted))
    best_prefix = ""
    while names and len({name.partition(".")[0] for name in names}) == 1 and all("." in n for n in names):
        head = next(iter(names)).partition(".")[0] + "."
        prefix, names = prefix + head, [name.removeprefix(head) for name in names]
        if len(set(names) & set(wanted)) > most_matches:
            best_prefix, most_matches = prefix, len(set(names) & set(wanted))
    return best_prefix


def weights_metadata(path: str | Path) -> dict[str, str]:
    """The options of ``METADATA_OPTIONS`` in the metadata of a weights file; empty if it cannot be read.

    Weights trained with TensorFlow need its padding: with PyTorch's they load, but accuracy drops by a few
    points without an error.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
    except (SafetensorError, OSError):
        return {}
    return {name: facts[name] for name in METADATA_OPTIONS if name in facts}


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix != ".safetensors":
        hint = "convert it with safetensors.torch.save_file; pickled weights can run code, so none are loaded"
        raise ExciteError("not a .safetensors file", where=path, hint=hint)
    if not path.is_file():
        raise ExciteError("the weights file does not exist", where=path, hint="check the path")
    try:
        tensors: dict[str, Tensor] = load_file(path)
        return tensors
    except (SafetensorError, OSError) as error:
        raise ExciteError(f"not a readable safetensors file: {error}", where=path) from error


def _as_kernel(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape, 1, 1) if len(shape) == 2 else shape


def save_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str] | None = None) -> None:
    """Write tensors as safetensors, atomically. Raises: ExciteError if the file cannot be written."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(plain, metadata=dict(header or {})))
