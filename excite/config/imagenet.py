"""The statistics of ImageNet that pretrained weights expect."""

from __future__ import annotations

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of each channel (R, G, B), in units of [0, 1]."""
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviation of each channel."""
