"""The gates of a network on images: those of excite's attention, timm's, and torchvision's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from excite.attention.fixed_gate import FixedGate
from excite.errors import ExciteError
from excite.explain.layer_maps import as_input
from excite.insertion.families import is_attention
from excite.system.evaluation_mode import evaluating

_CLOSE = 1e-4  # largest relative error of the output as input times gates
SHOWN_MAPS = 4  # images whose spatial gates are kept as maps


@dataclass(frozen=True)
class SiteGates:
    """The gates of one attention module on N images and their mirror images.

    Args:
        path: of the module.
        gates: (2, N, C) float32: the gate of each channel, averaged over positions, of the images and of
            their mirror images.
        maps: (M, h, w), the gate of each position, averaged over channels, of the first M images; None if it
            does not depend on the position.
        mean: (C, h, w) or (C, 1, 1), the mean of all gates over the images.
    """

    path: str
    gates: np.ndarray
    maps: np.ndarray | None
    mean: Tensor

    @property
    def variation(self) -> float:
        """Standard deviation over images relative to the gates: root mean squares over channels."""
        first = self.gates[0].astype(np.float64)
        power = float((first.mean(axis=0) ** 2).mean())
        return float((first.var(axis=0).mean() / power) ** 0.5) if power > 0 else 0.0


def attention_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Path -> attention module: excite's, and those of timm and torchvision; of nested ones the outermost."""
    found = {
        path: module
        for path, module in model.named_modules()
        if path
        and not isinstance(module, FixedGate)
        and (callable(getattr(module, "gates", None)) or is_attention(module))
    }
    return {
        path: module
        for path, module in found.items()
        if not any(path.startswith(f"{other}.") for other in found if other != path)
    }


def gates_of(module: nn.Module, u: Tensor, output: Tensor) -> Tensor | None:
    """The gates by which a module multiplied its input: (N, C, 1, 1), (N, 1, H, W), or (N, C, H, W).

    A module of excite computes them. Those of another module are found from its input u and output
    (N, C, H, W): by least squares for each channel, for each position, or element by element, whichever
    explains the output first.

    Returns:
        NaN where the input is 0, so that the gate has no effect and cannot be told; None if the module does
        not multiply its input.
    """
    if callable(compute := getattr(module, "gates", None)):
        gates: Tensor = compute(u)
        return gates.float()
    if u.shape != output.shape or u.ndim != 4:
        return None
    u, v = u.float(), output.float()
    size = v.square().sum().clamp(min=1e-12)
    for axes in ((2, 3), (1,)):
        power = u.square().sum(axes, keepdim=True)
        s = (u * v).sum(axes, keepdim=True) / power.clamp(min=1e-12)
        if (v - s * u).square().sum() <= _CLOSE**2 * size:
            return s.masked_fill(power == 0, torch.nan)
    s = v / torch.where(u == 0, torch.ones(()).to(u), u)
    exact = (v - s * u).square().sum() <= _CLOSE**2 * size
    return s.masked_fill(u == 0, torch.nan) if exact else None


@torch.no_grad()
def record_gates(
    model: nn.Module, batches: Iterable[Tensor]
) -> tuple[list[SiteGates], Tensor, tuple[str, ...]]:
    """The gates of all attention modules on images and on their mirror images.

    Args:
        model: it does not change.
        batches: normalized images (N, 3, S, S).

    Returns:
        the sites in the order of the network, the logits of the images (N, C), and the paths of attention
        that does not multiply its input, such as a selective kernel.

    Raises:
        ExciteError: for a network without attention, and without images.

    Example:
        >>> import excite
        >>> model = excite.create_model("timm:seresnet18", num_classes=4)
        >>> sites, logits, unmeasured = record_gates(model, [torch.randn(2, 3, 64, 64)])
        >>> len(sites), sites[0].gates.shape, unmeasured
        (8, (2, 2, 64), ())
    """
    modules = attention_modules(model)
    if not modules:
        what = f"{type(model).__name__} has no attention"
        raise ExciteError(what, hint="train with --attention, or leave out --attention here")
    recorders = {path: _Recorder() for path in modules}
    logits: list[Tensor] = []
    with torch.inference_mode(False), evaluating(model):
        for images in batches:
            batch = as_input(model, images)
            for version in (0, 1):
                hooks = {path: _recording(recorders[path], version) for path in modules}
                with _hooked(modules, hooks):
                    output = model(batch.flip(3) if version else batch)
                if not version:
                    logits.append(output.float().cpu())
    if not logits:
        raise ExciteError("there are no images to measure the gates on")
    sites = [found for path in modules if (found := recorders[path].site(path)) is not None]
    measured = {site.path for site in sites}
    return sites, torch.cat(logits), tuple(path for path in modules if path not in measured)


class _Recorder:
    """Collects the gates of one module."""

    def __init__(self) -> None:
        self.channels: tuple[list[Tensor], list[Tensor]] = ([], [])
        self.maps: list[Tensor] = []
        self.total: Tensor | float = 0.0
        self.count: Tensor | float = 0.0
        self.failed = False

    def add(self, gates: Tensor | None, u: Tensor, version: int) -> None:
        if gates is None:
            self.failed = True
            return
        gates = gates.expand(len(u), u.shape[1], -1, -1)
        self.channels[version].append(gates.nanmean((2, 3)).cpu())
        if version:
            return
        if gates.shape[2:].numel() > 1 and len(self.maps) < SHOWN_MAPS:
            self.maps += gates.nanmean(dim=1).nan_to_num().cpu()[: SHOWN_MAPS - len(self.maps)]
        self.total = self.total + gates.double().nansum(dim=0).cpu()
        self.count = self.count + gates.isfinite().sum(dim=0).cpu()

    def site(self, path: str) -> SiteGates | None:
        if self.failed or not self.channels[0]:
            return None
        gates = torch.stack([torch.cat(self.channels[0]), torch.cat(self.channels[1])])
        means = gates.nanmean(dim=(0, 1)).nan_to_num()
        gates = torch.where(gates.isnan(), means, gates)  # without an effect, so taken for average
        maps = torch.stack(self.maps).numpy() if self.maps else None
        mean = torch.as_tensor(self.total / self.count).nan_to_num()  # 0 where the input always is
        return SiteGates(path, gates.numpy(), maps, mean.float())


def _recording(recorder: _Recorder, version: int) -> Callable[..., None]:
    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        recorder.add(gates_of(module, inputs[0], output), inputs[0], version)

    return hook


@torch.no_grad()
def logits_with_mean_gates(model: nn.Module, batches: Iterable[Tensor], means: dict[str, Tensor]) -> Tensor:
    """Logits (N, C) of the network with the gates of some modules replaced by their means.

    Args:
        model: it does not change.
        batches: normalized images (N, 3, S, S).
        means: path of a module -> its mean gates, as in ``SiteGates.mean``.
    """
    modules = {path: model.get_submodule(path) for path in means}
    hooks = {path: _fixing(mean) for path, mean in means.items()}
    with torch.inference_mode(False), evaluating(model), _hooked(modules, hooks):
        return torch.cat([model(as_input(model, images)).float().cpu() for images in batches])


def _fixing(mean: Tensor) -> Callable[..., Tensor]:
    def hook(_module: nn.Module, inputs: tuple[Any, ...], _output: Any) -> Tensor:
        u: Tensor = inputs[0]
        return u * mean.to(u.device, u.dtype)

    return hook


@contextmanager
def _hooked(modules: dict[str, nn.Module], hooks: dict[str, Callable[..., Any]]) -> Iterator[None]:
    handles = [module.register_forward_hook(hooks[path]) for path, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
