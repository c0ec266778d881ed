"""The compilation of kernels has a name while it lasts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import torch

from excite.kernels import dispatch
from excite.kernels.dispatch import compilation_named_by, select_backend, use_kernels


def test_loading_a_backend_is_named_once_and_only_in_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []

    @contextlib.contextmanager
    def waiting(name: str) -> Iterator[None]:
        names.append(name)
        yield

    image = torch.zeros(1, 4, 8, 8).to(memory_format=torch.channels_last)
    uncached = dispatch._load_backend.__wrapped__
    monkeypatch.setattr(dispatch, "_load_backend", uncached)
    with use_kernels("on"):
        select_backend(image)
        assert names == []
        with compilation_named_by(waiting):
            select_backend(image)
        select_backend(image)
    assert names == ["loading kernels, which are compiled once for this machine"]
