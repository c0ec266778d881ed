"""DenseNet-BC with Squeeze-and-Excitation as a functional Keras model, layers named as in keras.applications.

Read from top to bottom: layer, transition, net, entry points.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import keras
from keras import layers

from excite.errors import BAD_USAGE, ExciteError, refuse_unknown_options, require
from excite.keras.squeeze_excitation import DATA_FORMATS, SqueezeExcitation
from excite.models.densenet_config import (
    VARIANTS,
    attention_sites,
    check_options,
    compressed_channels,
    smallest_image_size,
)

ATTENTION = {"se": SqueezeExcitation, "cse": SqueezeExcitation}
POOLINGS = {None: None, "avg": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D}

_require = partial(require, where="DenseNet")


class _Parts:
    """The layers that the net is made of, each with what all of its kind share."""

    def __init__(self, data_format: str, epsilon: float, attention: str | None, options: Mapping[str, Any]):
        self.axis = 3 if data_format == "channels_last" else 1
        self.spatial: dict[str, Any] = {"data_format": data_format}
        self.epsilon, self.attention, self.options = epsilon, attention, options

    def norm_relu(self, x: Any, name: str) -> Any:
        # PyTorch's momentum of 0.1 is Keras's 0.9.
        norm = layers.BatchNormalization(axis=self.axis, momentum=0.9, epsilon=self.epsilon, name=f"{name}bn")
        return layers.Activation("relu", name=f"{name}relu")(norm(x))

    def conv(self, x: Any, width: int, size: int, name: str, **options: Any) -> Any:
        # torch.nn.init.kaiming_normal_; Keras's he_normal cuts the tails off.
        start = keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal")
        options = {"use_bias": False, "kernel_initializer": start, **self.spatial, **options}
        return layers.Conv2D(width, size, name=name, **options)(x)

    def attend(self, x: Any, name: str) -> Any:
        assert self.attention is not None
        return ATTENTION[self.attention](name=f"{name}_se", **self.spatial, **self.options)(x)

    def channels(self, x: Any) -> int:
        return x.shape[self.axis]


def _layer(
    parts: _Parts, x: Any, growth_rate: int, bottleneck_size: int, drop_rate: float, attend: bool, name: str
) -> Any:
    """(N, H, W, C) -> (N, H, W, C + k): norm, ReLU, 1x1, norm, ReLU, 3x3; then attention and dropout."""
    new = parts.norm_relu(x, f"{name}_0_")
    new = parts.conv(new, bottleneck_size * growth_rate, 1, f"{name}_1_conv")
    new = parts.norm_relu(new, f"{name}_1_")
    new = parts.conv(new, growth_rate, 3, f"{name}_2_conv", padding="same")
    if attend:
        new = parts.attend(new, name)
    if drop_rate:
        new = layers.Dropout(drop_rate, name=f"{name}_drop")(new)
    return layers.Concatenate(axis=parts.axis, name=f"{name}_concat")([x, new])


def _transition(parts: _Parts, x: Any, compression: float, attend: bool, name: str) -> Any:
    """(N, H, W, C) -> (N, H // 2, W // 2, compression C)."""
    width = compressed_channels(parts.channels(x), compression)
    x = parts.conv(parts.norm_relu(x, f"{name}_"), width, 1, f"{name}_conv")
    x = layers.AveragePooling2D(2, strides=2, name=f"{name}_pool", **parts.spatial)(x)
    return parts.attend(x, name) if attend else x


def _stem(parts: _Parts, x: Any, stem: str, width: int) -> Any:
    """(N, H, W, C) -> a quarter of each side, or with the CIFAR stem the same."""
    if stem == "cifar":
        return parts.conv(x, width, 3, "conv1_conv", padding="same")
    # Padded apart from the convolution: "same" pads by the size of the image, and then differs from PyTorch.
    x = layers.ZeroPadding2D(3, **parts.spatial)(x)
    x = parts.norm_relu(parts.conv(x, width, 7, "conv1_conv", strides=2), "conv1_")
    x = layers.ZeroPadding2D(1, **parts.spatial)(x)  # zeros are no maxima here: x is not negative
    return layers.MaxPooling2D(3, strides=2, name="pool1", **parts.spatial)(x)


def build(
    *,
    growth_rate: int = 32,
    block_config: Sequence[int] = (6, 12, 24, 16),
    init_channels: int = 64,
    bottleneck_size: int = 4,
    compression: float = 0.5,
    drop_rate: float = 0.0,
    num_classes: int = 1000,
    in_chans: int = 3,
    image_size: int | tuple[int, int] | None = 224,
    stem: str = "imagenet",
    attention: str | None = None,
    attention_options: Mapping[str, Any] | None = None,
    placement: str | Sequence[str] = "final",
    include_top: bool = True,
    pooling: str | None = None,
    classifier_activation: str | None = None,
    input_tensor: Any | None = None,
    data_format: str | None = None,
    epsilon: float = 1e-5,
    name: str = "densenet",
) -> keras.Model:
    """DenseNet-BC: images (N, H, W, in_chans) -> logits (N, num_classes).

    The options are those of ``excite.models.densenet.DenseNet``, with the same meaning; further ones:

    Args:
        image_size: side of the images in pixels, or (height, width); None: any.
        attention: ``se``, or None.
        attention_options: of ``SqueezeExcitation``.
        include_top: whether the pooling and the classifier are there.
        pooling: without the top, ``avg`` or ``max``: (N, features); None leaves the map.
        classifier_activation: ``softmax`` for probabilities; None gives logits.
        input_tensor: a Keras tensor to build on, instead of ``in_chans`` and ``image_size``.
        data_format: ``channels_last`` or ``channels_first``; by default Keras's own setting.
        epsilon: of the batch norms. PyTorch's by default; keras.applications has 1.001e-5.

    Raises:
        ExciteError: for a value out of range, an unknown name, an image too small.

    Paper: Densely Connected Convolutional Networks, Huang et al., https://arxiv.org/abs/1608.06993.
    """
    check_options(
        growth_rate=growth_rate,
        block_config=block_config,
        init_channels=init_channels,
        bottleneck_size=bottleneck_size,
        compression=compression,
        drop_rate=drop_rate,
        in_chans=in_chans,
        stem=stem,
    )
    _require(num_classes >= 1, f"num_classes must be at least 1, not {num_classes}; or include_top=False")
    _require(not (include_top and pooling), "pooling is chosen where include_top is False")
    _require(include_top or not classifier_activation, "without the top there is no classifier to activate")
    _require(pooling in POOLINGS, f"pooling must be avg, max or None, not {pooling!r}")
    data_format = data_format or keras.config.image_data_format()
    _require(data_format in DATA_FORMATS, f"data_format must be one of {', '.join(DATA_FORMATS)}")
    sites = attention_sites(placement)
    if attention is None:
        sites = frozenset()
    elif attention not in ATTENTION:
        what = f"attention {attention!r} is not there for Keras"
        raise ExciteError(what, hint=f"there is {', '.join(ATTENTION)}", exit_code=BAD_USAGE)
    else:
        refuse_unknown_options(
            SqueezeExcitation,
            attention_options or {},
            except_for=("data_format", "kwargs"),
            where=f"attention {attention!r}",
        )
    parts = _Parts(data_format, epsilon, attention, attention_options or {})
    images = _images(image_size, in_chans, data_format) if input_tensor is None else input_tensor
    _check_size(images, stem, len(block_config), parts.axis)

    x = _stem(parts, images, stem, init_channels)
    last = len(block_config)
    for number, depth in enumerate(block_config, start=1):
        block = f"conv{number + 1}"  # the stem is 1
        for layer in range(1, depth + 1):
            x = _layer(
                parts, x, growth_rate, bottleneck_size, drop_rate, "layer" in sites, f"{block}_block{layer}"
            )
        if "block" in sites or ("final" in sites and number == last):
            x = parts.attend(x, block)
        if number < last:
            x = _transition(parts, x, compression, "transition" in sites, f"pool{number + 1}")
    x = parts.norm_relu(x, "")
    if include_top:
        x = layers.GlobalAveragePooling2D(name="avg_pool", **parts.spatial)(x)
        x = _classifier(num_classes, classifier_activation)(x)
    elif pool := POOLINGS[pooling]:
        x = pool(name=f"{pooling}_pool", **parts.spatial)(x)
    # What comes before the tensor to build on is part of the model.
    sources = keras.utils.get_source_inputs(images)
    return keras.Model(sources[0] if len(sources) == 1 else sources, x, name=name)


def _classifier(num_classes: int, activation: str | None) -> layers.Dense:
    start = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")  # torch.nn.Linear's
    # In the dtype of the variables: mixed precision would round logits, and the loss made of them, to half.
    dtype = keras.config.dtype_policy().variable_dtype
    return layers.Dense(
        num_classes, activation=activation, kernel_initializer=start, dtype=dtype, name="predictions"
    )


def _images(size: int | tuple[int, int] | None, channels: int, data_format: str) -> Any:
    sides = (size, size) if size is None or isinstance(size, int) else tuple(size)
    shape = (*sides, channels) if data_format == "channels_last" else (channels, *sides)
    return keras.Input(shape)


def _check_size(images: Any, stem: str, blocks: int, channel_axis: int) -> None:
    smallest = smallest_image_size(stem, blocks)
    sides = [side for axis, side in enumerate(images.shape) if axis not in (0, channel_axis)]
    short = [side for side in sides if side is not None and side < smallest]
    if short:
        what = f"image size {short[0]} is too small: this network needs at least {smallest} pixels a side"
        raise ExciteError(what, where="DenseNet", exit_code=BAD_USAGE)


def _entry_point(name: str) -> Callable[..., keras.Model]:
    variant = VARIANTS[name]

    def make(**options: Any) -> keras.Model:
        refuse_unknown_options(build, options, where=name)
        config = {
            "growth_rate": variant.growth_rate,
            "block_config": variant.block_config,
            "init_channels": variant.init_channels,
            "num_classes": variant.num_classes,
            "stem": variant.stem,
            "image_size": 32 if variant.stem == "cifar" else 224,
            "name": name,
        }
        return build(**{**config, **options})

    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"{name}, with any option of ``build`` changed by name."
    return make


densenet121 = _entry_point("densenet121")
densenet161 = _entry_point("densenet161")
densenet169 = _entry_point("densenet169")
densenet201 = _entry_point("densenet201")
densenet264 = _entry_point("densenet264")
densenet_bc_40_12 = _entry_point("densenet_bc_40_12")
densenet_bc_100_12 = _entry_point("densenet_bc_100_12")
densenet_bc_190_40 = _entry_point("densenet_bc_190_40")
densenet_bc_250_24 = _entry_point("densenet_bc_250_24")
