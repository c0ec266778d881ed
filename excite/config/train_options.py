"""The options of ``excite.train`` as types, for completion in editors; a test compares them."""

from __future__ import annotations

from typing import Any, TypedDict


class TrainOptions(TypedDict, total=False):
    """Options of ``TrainConfig`` by name; see ``excite.train``."""

    split: str
    val_fraction: float
    test_fraction: float
    test_from: str
    group_pattern: str | None
    near_duplicates: bool | None
    decisions: str | None
    allow_leaks: bool
    path_column: str
    label_column: str
    label_columns: str
    label_separator: str
    empty_label: str
    group_column: str
    split_column: str
    max_unreadable: float
    max_pixels: int
    intensity_range: str | None
    window: str | None
    model: str
    attention: str
    placement: str
    where: str | None
    stages: str | None
    identity: bool | None
    stem: str
    truncate_after: str | None
    pretrained: bool | None
    weights: str | None
    model_options: dict[str, Any]
    attention_options: dict[str, Any]
    image_size: int | None
    resize_mode: str
    interpolation: str
    normalization: str
    tta: str
    flips: str
    recipe: str
    balance: str
    shuffle: str
    augment: str
    augment_options: dict[str, Any]
    loss: str
    loss_options: dict[str, Any]
    augmented_copies: str
    epochs: int
    time_budget: float | None
    batch_size: int
    accumulation_steps: int
    optimizer: str
    lr: float | None
    weight_decay: float | None
    layer_decay: float | None
    frozen_layers: int | None
    train: str
    batch_norm: str
    momentum: float
    warmup: float
    label_smoothing: float
    ema: float
    grad_clip: float
    monitor: str
    keep: str
    patience: int | None
    compile: bool
    device: str
    precision: str
    pixel_cache: str
    channels_last: bool
    seed: int
    positive: str | None
    sensitivity: float | None
    specificity: float | None
    label_threshold: str
    abstain_below: float | None
    selective_accuracy: float | None
    subgroups: str | None
    ordinal: str | None
    robustness: bool
    folds: int | None
    repeats: int
    jobs: int
    thumbnails: bool | None
    imports: list[str]
    track: list[str]
    out: str | None
