"""The level of resolution of the layers of a Keras model, as ``excite.insertion`` counts it for PyTorch."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import keras

from excite.errors import BAD_USAGE, ExciteError
from excite.insertion.site import Site

_NAMED = re.compile(r"conv(\d+)_block\d+")  # ResNet and DenseNet: conv2 to conv5, as in their papers


def stage_of(model: keras.Model, layer: str, side: int | None, axis: int) -> int | None:
    """The stage of a layer; None if neither its name nor the shapes tell.

    A stem at half of the image's resolution is stage 1. Networks that start at full resolution have stage 1
    there.

    Args:
        layer: its name.
        side: height of its feature map.
        axis: of the height.
    """
    if named := _NAMED.match(layer):
        return int(named[1])
    shape = model.inputs[0].shape
    if not side or len(shape) != 4 or not shape[axis]:
        return None
    channels = 3 if axis == 1 else 1
    full = any(
        len(each.output.shape) == 4
        and (each.output.shape[channels] or 0) > (shape[channels] or 0)
        and (each.output.shape[axis] or 0) * 1.4 > shape[axis]
        for each in model.layers
        if isinstance(each, keras.Layer) and hasattr(each.output, "shape")
    )
    return round(math.log2(shape[axis] / side)) + full


def on_stages(sites: Sequence[Site], stages: int | Sequence[int] | None) -> list[Site]:
    """The sites on these stages; all of them if ``stages`` is None.

    Raises:
        ExciteError: for a stage without sites.
    """
    if stages is None:
        return list(sites)
    wanted = [stages] if isinstance(stages, int) else list(stages)
    present = sorted({site.stage for site in sites if site.stage is not None})
    for stage in wanted:
        if stage not in present:
            what = f"there is no site on stage {stage}"
            hint = (
                f"the stages are {', '.join(map(str, present))}" if present else "select layers with where="
            )
            raise ExciteError(what, where="stages", hint=hint, exit_code=BAD_USAGE)
    return [site for site in sites if site.stage in wanted]
