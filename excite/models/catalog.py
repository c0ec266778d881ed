"""Models by name: excite's own, timm's, torchvision's, and those of plug-ins."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from excite.config.imagenet import IMAGENET_MEAN, IMAGENET_STD
from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.insertion.insert import insert
from excite.insertion.sites import Selector
from excite.models.fused_blocks import fuse_blocks
from excite.models.fused_depthwise import fuse_depthwise
from excite.models.head import replace_head
from excite.models.packaged_weights import find_packaged, is_local, load_packaged, local_networks
from excite.models.plugin_network import PLUGIN, build_plugin_network
from excite.models.registry import REGISTRY
from excite.models.third_party import library_errors, without_compiler
from excite.models.truncate import truncate
from excite.models.weights import fit_channels
from excite.plugins.registry import find, own_plugins, registered

# Up to this side, images lose too much detail to the ImageNet stem, which reduces them fourfold.
LARGEST_FOR_CIFAR_STEM = 64

# timm and torchvision are imported in functions: together they take as long to import as torch.


def create_model(  # noqa: PLR0913 - hyperparameters
    name: str,
    *,
    num_classes: int = 1000,
    in_chans: int = 3,
    image_size: int | None = None,
    attention: str | None = None,
    placement: str | Sequence[str] | None = None,
    where: Selector | Sequence[Selector] | None = None,
    stages: int | Sequence[int] | None = None,
    attention_options: Mapping[str, Any] | None = None,
    truncate_after: str | None = None,
    pretrained: bool = False,
    **model_options: Any,
) -> nn.Module:
    """Create the model called ``name``: images (N, in_chans, image_size, image_size) -> (N, num_classes).

    Args:
        name: a model of excite, timm, torchvision, or a plug-in, searched in this order; ``timm:resnet50``,
            ``torchvision:resnet50``, and ``plugin:mine`` select where it comes from.
        image_size: side of the images in pixels. Up to 64, excite's DenseNets get the ``cifar`` stem, unless
            ``stem`` is given or the weights are pretrained. Models with a fixed input size are built for it.
        attention: a name in ``excite.attention.registry``. excite's DenseNets are built with it; in other
            networks it is inserted.
        placement: for excite's DenseNets as in ``DenseNet``, by default ``final``; for others as in
            ``excite.insert``, by default ``standard``.
        where: as in ``excite.insert``; not for excite's DenseNets.
        stages: likewise.
        attention_options: options of the attention module, such as ``reduction`` or ``identity``.
        truncate_after: path of the last module to use: the head follows it, see ``truncate``.
        pretrained: load ImageNet weights: from an installed package or the cache if they have them (see
            ``list_models(weights="local")``), otherwise downloaded from the library's hub.
        model_options: options of the model itself, such as ``drop_rate``.

    Raises:
        ExciteError: if the name or an option is unknown, the images are too small, the weights cannot be
            downloaded, or no place for attention is known in the network.

    >>> import torch
    >>> model = create_model("cifar_resnet20", num_classes=4, attention="se", image_size=32)
    >>> model.eval()(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 4])
    """
    library, bare = find_library(name)
    dense = has_attention_options(name)
    if dense:
        if where is not None or stages is not None:
            hint = "use placement, or insert attention into timm:densenet121"
            what = "where and stages do not apply to this network"
            raise ExciteError(what, where=name, hint=hint, exit_code=BAD_USAGE)
        model_options |= {
            "attention": attention,
            "placement": placement or "final",
            "attention_options": attention_options,
        }
    model = _BUILDERS[library](bare, num_classes, in_chans, image_size, pretrained, model_options)
    model = fuse_depthwise(fuse_blocks(model))
    smallest = getattr(model, "min_image_size", 1)
    if image_size is not None and image_size < smallest:
        what = f"image size {image_size} is too small: this network needs at least {smallest} pixels"
        raise ExciteError(what, where=name, exit_code=BAD_USAGE)
    if truncate_after is not None:
        truncate(model, truncate_after, num_classes=num_classes)
    if dense or attention is None:
        return model
    placement = "standard" if placement is None else placement
    if not isinstance(placement, str):
        raise ExciteError("this network takes one placement, not several", where=name, exit_code=BAD_USAGE)
    return insert(
        model, attention, where=where, stages=stages, placement=placement, **(attention_options or {})
    )


def has_attention_options(name: str) -> bool:
    """Whether attention is an option of the network, as in excite's DenseNets, rather than inserted."""
    library, bare = find_library(name)
    return library == "excite" and REGISTRY[bare].dense


def list_models(pattern: str = "*", *, weights: str | None = None) -> list[str]:
    """Names of models that match a shell-style pattern, sorted; with their library if it contains ``:``.

    Args:
        weights: ``local`` for those whose trained weights are on this machine, in an installed package or in
            the cache; None for all.

    Raises:
        ExciteError: for another value of ``weights``.

    >>> list_models("cifar_resnet*")
    ['cifar_resnet110', 'cifar_resnet164', 'cifar_resnet20', 'cifar_resnet56']
    """
    if weights not in (None, "local"):
        raise unknown_name("value", weights, ["local"], where="weights")
    if weights is None:
        known = _all_names() + [f"{PLUGIN}:{each.name}" for each in own_plugins() if each.kind == "model"]
    else:
        known = [f"excite:{name}" for name in local_networks()]
    names = [name if ":" in pattern else name.partition(":")[2] for name in known]
    return sorted(set(fnmatch.filter(names, pattern)))


def input_statistics(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Channel means and standard deviations of [0, 1] pixels that the model's pretrained weights expect.

    Those of ImageNet if the library declares none.
    """
    if packaged := find_packaged(name):
        return packaged.mean, packaged.std
    library, bare = find_library(name)
    if library == "timm":
        from timm.models import get_pretrained_cfg

        if declared := get_pretrained_cfg(bare):
            return tuple(declared.mean), tuple(declared.std)
    return IMAGENET_MEAN, IMAGENET_STD


def _from_excite(
    name: str,
    num_classes: int,
    in_chans: int,
    image_size: int | None,
    pretrained: bool,
    options: dict[str, Any],
) -> nn.Module:
    small = image_size is not None and image_size <= LARGEST_FOR_CIFAR_STEM
    if REGISTRY[name].dense and small and not pretrained:
        options = {"stem": "cifar", **options}
    try:
        model = REGISTRY[name].build(num_classes=num_classes, in_chans=in_chans, **options)
    except (TypeError, ValueError) as error:  # an option of the wrong type
        reason = str(error).partition("\n")[0]
        raise ExciteError(f"could not build the model: {reason}", where=name, exit_code=BAD_USAGE) from error
    if pretrained:
        _load_pretrained(model, name, in_chans)
    return model


def _load_pretrained(model: nn.Module, name: str, in_chans: int) -> None:
    """Load weights of a package, or of timm's hub; the classifier's if the number of classes agrees."""
    if not REGISTRY[name].pretrained:
        available = ", ".join(other for other, row in REGISTRY.items() if row.pretrained)
        hint = f"choose from {available}"
        raise ExciteError("there are no pretrained weights for this network", where=name, hint=hint)
    packaged = find_packaged(name)
    if packaged is not None and is_local(packaged):
        weights = load_packaged(packaged)
        weights["conv_stem.weight"] = fit_channels(weights["conv_stem.weight"], in_chans)
    else:
        import timm

        with library_errors(name, fetching=True):
            weights = timm.create_model(name, pretrained=True, in_chans=in_chans).state_dict()
    expected = {
        key: tensor
        for key, tensor in model.state_dict().items()
        if "attention" not in key and (key in weights or not key.endswith("num_batches_tracked"))
    }
    for key in ("classifier.weight", "classifier.bias"):
        if key not in expected or expected[key].shape != weights[key].shape:
            expected.pop(key, None)
            del weights[key]
    if _shapes(expected) != _shapes(weights):
        hint = "use the default stem, growth_rate, and block_config, or pretrained=False"
        raise ExciteError("the pretrained weights do not fit these options", where=name, hint=hint)
    model.load_state_dict(weights, strict=False)


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _from_timm(
    name: str,
    num_classes: int,
    in_chans: int,
    image_size: int | None,
    pretrained: bool,
    options: dict[str, Any],
) -> nn.Module:
    import timm

    try:
        declared = timm.models.get_pretrained_cfg(name)
    except RuntimeError as error:  # a tag that this network does not have
        hint = f"omit the tag: {name.partition('.')[0]}"
        raise ExciteError(str(error).rstrip("."), where=name, hint=hint, exit_code=BAD_USAGE) from error
    if image_size is not None and declared and declared.fixed_input_size:
        options = {"img_size": image_size, **options}
    packaged = find_packaged(name) if pretrained else None
    local = packaged is not None and is_local(packaged)
    if packaged is not None and local:
        # timm fits them to other numbers of classes and channels, as it does with those of its hub.
        options = {"pretrained_cfg_overlay": {"state_dict": load_packaged(packaged)}, **options}
    with library_errors(name, fetching=pretrained and not local):
        model = timm.create_model(
            name, pretrained=pretrained, num_classes=num_classes, in_chans=in_chans, **options
        )
    if local:
        model.pretrained_cfg.pop("state_dict")  # a second copy of the weights
    return model


def _from_torchvision(
    name: str,
    num_classes: int,
    in_chans: int,
    image_size: int | None,
    pretrained: bool,
    options: dict[str, Any],
) -> nn.Module:
    import torchvision

    if in_chans != 3:
        hint = f"use timm:{name}"
        raise ExciteError("torchvision's models take 3 channels", where=name, hint=hint, exit_code=BAD_USAGE)
    auxiliary = name in ("googlenet", "inception_v3")
    if auxiliary and not pretrained:
        # Auxiliary classifiers make the model return a tuple in training.
        options = {"aux_logits": False, "init_weights": True, **options}
    if image_size is not None and name.startswith("vit_"):
        options = {"image_size": image_size, **options}
    if image_size is not None and name.startswith("maxvit"):
        options = {"input_size": (image_size, image_size), **options}
    weights = "DEFAULT" if pretrained else None
    with library_errors(name):
        if not pretrained:
            return torchvision.models.get_model(name, weights=weights, num_classes=num_classes, **options)
        model = torchvision.models.get_model(name, weights=weights, **options)
    if auxiliary:
        # The weights include auxiliary classifiers, and the constructor requires them.
        model.aux_logits, model.AuxLogits = False, None
    replace_head(model, num_classes)
    return model


def _all_names() -> list[str]:
    """Every name with its library, in the order of the search; plug-ins follow separately."""
    with without_compiler():
        import timm
        import torchvision

    names = [f"excite:{name}" for name in REGISTRY]
    names += [f"timm:{name}" for name in timm.list_models()]
    names += [f"torchvision:{name}" for name in torchvision.models.list_models(module=torchvision.models)]
    return names


def find_library(name: str) -> tuple[str, str]:
    """The library of a model and its name there; timm's names may end in a tag, ``resnet50.a1_in1k``.

    Raises:
        ExciteError: for an unknown name, and for one that a library and a plug-in both have.
    """
    library, _, bare = name.rpartition(":")
    if bare in REGISTRY and library in ("", "excite"):
        return "excite", bare
    known = _all_names()
    stems = {"timm": bare.partition(".")[0], "torchvision": bare}
    found = [each for each in stems if library in ("", each) and f"{each}:{stems[each]}" in known]
    if library in ("", PLUGIN):  # installed packages are searched only for a name that no library has
        plugin = registered("model", bare) if found else find("model", bare)
        if plugin is not None and not plugin.built_in:
            if found:
                what = f"is a network of {found[0]} and of the plug-in {plugin.module}"
                hint = f"write {PLUGIN}:{bare} or {found[0]}:{bare}"
                raise ExciteError(what, where=name, hint=hint, exit_code=BAD_USAGE)
            found = [PLUGIN]
    if found:
        return found[0], bare
    choices = known if library else {full.partition(":")[2] for full in known}
    raise unknown_name(
        "model", name, {*choices, *(each.name for each in own_plugins() if each.kind == "model")}
    )


_BUILDERS = {
    "excite": _from_excite,
    "timm": _from_timm,
    "torchvision": _from_torchvision,
    PLUGIN: build_plugin_network,
}
