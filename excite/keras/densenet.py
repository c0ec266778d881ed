"""DenseNet-BC with Squeeze-and-Excitation as a functional Keras model, layers named as in keras.applications.

Reads from top to bottom: layers, network, entry points.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class _Builder:
    """Adds layers to a functional graph; holds what all layers of one network share.

    Args:
        epsilon: of the batch norms.
        sites: the places that get attention; empty without attention.
    """

    growth_rate: int
    bottleneck_size: int
    compression: float
    drop_rate: float
    data_format: str
    epsilon: float
    attention: str | None
    attention_options: Mapping[str, Any]
    sites: frozenset[str]

    @property
    def channel_axis(self) -> int:
        return 3 if self.data_format == "channels_last" else 1

    def stem(self, x: Any, kind: str, width: int) -> Any:
        """(N, H, W, C) -> (N, H // 4, W // 4, width); the CIFAR stem keeps H and W."""
        if kind == "cifar":
            return self._conv(x, width, 3, "conv1_conv", padding="same")
        # Padded by layers of their own: padding="same" depends on the image size, and then differs from
        # PyTorch.
        x = layers.ZeroPadding2D(3, data_format=self.data_format)(x)
        x = self.norm_relu(self._conv(x, width, 7, "conv1_conv", strides=2), "conv1_")
        # After a ReLU, zeros never win the maximum.
        x = layers.ZeroPadding2D(1, data_format=self.data_format)(x)
        return layers.MaxPooling2D(3, strides=2, name="pool1", data_format=self.data_format)(x)

    def dense_layer(self, x: Any, name: str) -> Any:
        """(N, H, W, C) -> (N, H, W, C + k): norm, ReLU, 1x1, norm, ReLU, 3x3; then attention and dropout."""
        new = self.norm_relu(x, f"{name}_0_")
        new = self._conv(new, self.bottleneck_size * self.growth_rate, 1, f"{name}_1_conv")
        new = self.norm_relu(new, f"{name}_1_")
        new = self._conv(new, self.growth_rate, 3, f"{name}_2_conv", padding="same")
        if "layer" in self.sites:
            new = self._attention(new, name)
        if self.drop_rate:
            new = layers.Dropout(self.drop_rate, name=f"{name}_drop")(new)
        return layers.Concatenate(axis=self.channel_axis, name=f"{name}_concat")([x, new])

    def dense_block(self, x: Any, depth: int, name: str, is_last: bool) -> Any:
        """(N, H, W, C) -> (N, H, W, C + depth k)."""
        for number in range(1, depth + 1):
            x = self.dense_layer(x, f"{name}_block{number}")
        has_attention = "block" in self.sites or ("final" in self.sites and is_last)
        return self._attention(x, name) if has_attention else x

    def transition(self, x: Any, name: str) -> Any:
        """(N, H, W, C) -> (N, H // 2, W // 2, compression C)."""
        width = compressed_channels(x.shape[self.channel_axis], self.compression)
        x = self._conv(self.norm_relu(x, f"{name}_"), width, 1, f"{name}_conv")
        x = layers.AveragePooling2D(2, strides=2, name=f"{name}_pool", data_format=self.data_format)(x)
        return self._attention(x, name) if "transition" in self.sites else x

    def head(self, x: Any, num_classes: int, activation: str | None) -> Any:
        """(N, H, W, C) -> (N, num_classes)."""
        x = layers.GlobalAveragePooling2D(name="avg_pool", data_format=self.data_format)(x)
        start = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")  # torch.nn.Linear's
        # In the dtype of the variables: mixed precision would round the logits, and so the loss, to half.
        dtype = keras.config.dtype_policy().variable_dtype
        classifier = layers.Dense(
            num_classes, activation=activation, kernel_initializer=start, dtype=dtype, name="predictions"
        )
        return classifier(x)

    def norm_relu(self, x: Any, name: str) -> Any:
        # PyTorch's momentum of 0.1 is Keras's 0.9.
        norm = layers.BatchNormalization(
            axis=self.channel_axis, momentum=0.9, epsilon=self.epsilon, name=f"{name}bn"
        )
        return layers.Activation("relu", name=f"{name}relu")(norm(x))

    def _conv(self, x: Any, width: int, size: int, name: str, **options: Any) -> Any:
        # torch.nn.init.kaiming_normal_; Keras's he_normal truncates the tails.
        start = keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal")
        options = {"use_bias": False, "kernel_initializer": start, "data_format": self.data_format, **options}
        return layers.Conv2D(width, size, name=name, **options)(x)

    def _attention(self, x: Any, name: str) -> Any:
        layer = ATTENTION[self.attention or ""]
        return layer(name=f"{name}_se", data_format=self.data_format, **self.attention_options)(x)


def build(  # noqa: PLR0913 - hyperparameters of the network
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

    The options of ``excite.models.densenet.DenseNet`` have the same meaning here. Further options:

    Args:
        image_size: side of the images in pixels, or (height, width); None accepts any size.
        attention: ``se``, or None.
        attention_options: options of ``SqueezeExcitation``.
        include_top: whether to end with pooling and a classifier.
        pooling: without the top, ``avg`` or ``max`` for an output of (N, features), None for the feature map.
        classifier_activation: ``softmax`` for probabilities; None for logits.
        input_tensor: a Keras tensor to build on, instead of ``in_chans`` and ``image_size``.
        data_format: ``channels_last`` or ``channels_first``; by default Keras's own setting.
        epsilon: of the batch norms; by default PyTorch's. keras.applications uses 1.001e-5.

    Raises:
        ExciteError: for a value out of range, an unknown name, or an image size that is too small.

    Example:
        >>> model = build(growth_rate=4, block_config=(2, 2), init_channels=8, image_size=32, num_classes=5,
        ...               attention="se", attention_options={"reduction": 4})
        >>> model.output_shape
        (None, 5)

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
    _check_top(num_classes, include_top, pooling, classifier_activation)
    data_format = data_format or keras.config.image_data_format()
    _require(data_format in DATA_FORMATS, f"data_format must be one of {', '.join(DATA_FORMATS)}")
    sites = attention_sites(placement)
    if attention is not None:
        check_attention(attention, attention_options or {})
    builder = _Builder(
        growth_rate=growth_rate,
        bottleneck_size=bottleneck_size,
        compression=compression,
        drop_rate=drop_rate,
        data_format=data_format,
        epsilon=epsilon,
        attention=attention,
        attention_options=attention_options or {},
        sites=sites if attention else frozenset(),
    )
    images = _input(image_size, in_chans, data_format) if input_tensor is None else input_tensor
    _check_size(images, stem, len(block_config), builder.channel_axis)

    x = builder.stem(images, stem, init_channels)
    last = len(block_config)
    for number, depth in enumerate(block_config, start=1):
        x = builder.dense_block(x, depth, f"conv{number + 1}", is_last=number == last)  # conv1 is the stem
        if number < last:
            x = builder.transition(x, f"pool{number + 1}")
    x = builder.norm_relu(x, "")
    if include_top:
        x = builder.head(x, num_classes, classifier_activation)
    elif pool := POOLINGS[pooling]:
        x = pool(name=f"{pooling}_pool", data_format=data_format)(x)
    # The model begins at the inputs of input_tensor, not at input_tensor itself.
    sources = keras.utils.get_source_inputs(images)
    return keras.Model(sources[0] if len(sources) == 1 else sources, x, name=name)


def check_attention(attention: str, options: Mapping[str, Any]) -> None:
    """Raises: ExciteError for attention that Keras does not have, or an option that it does not take."""
    if attention not in ATTENTION:
        what = f"attention {attention!r} is not available in Keras"
        raise ExciteError(what, hint=f"available: {', '.join(ATTENTION)}", exit_code=BAD_USAGE)
    where = f"attention {attention!r}"
    refuse_unknown_options(ATTENTION[attention], options, except_for=("data_format", "kwargs"), where=where)


def _check_top(num_classes: int, include_top: bool, pooling: str | None, activation: str | None) -> None:
    _require(num_classes >= 1, f"num_classes must be at least 1, got {num_classes}; or use include_top=False")
    _require(not (include_top and pooling), "pooling needs include_top=False")
    _require(include_top or not activation, "classifier_activation needs include_top=True")
    _require(pooling in POOLINGS, f"pooling must be avg, max, or None, got {pooling!r}")


def _input(size: int | tuple[int, int] | None, channels: int, data_format: str) -> Any:
    sides = (size, size) if size is None or isinstance(size, int) else tuple(size)
    shape = (*sides, channels) if data_format == "channels_last" else (channels, *sides)
    return keras.Input(shape)


def _check_size(images: Any, stem: str, blocks: int, channel_axis: int) -> None:
    smallest = smallest_image_size(stem, blocks)
    sides = [side for axis, side in enumerate(images.shape) if axis not in (0, channel_axis)]
    short = [side for side in sides if side is not None and side < smallest]
    if short:
        what = f"image size {short[0]} is too small: the network needs at least {smallest} pixels per side"
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
    make.__doc__ = f"{name}: images (N, H, W, 3) -> logits; takes every option of ``build``."
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
