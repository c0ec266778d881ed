"""What editors and ``help`` show of ``excite.train``."""

from __future__ import annotations

import inspect
import typing

import excite
from excite.config.train_config import HINTS, TrainConfig
from excite.config.train_options import TrainOptions


def test_the_types_for_editors_are_those_of_the_configuration() -> None:
    assert typing.get_type_hints(TrainOptions) == {k: v for k, v in HINTS.items() if k != "data"}
    assert not TrainOptions.__required_keys__


def test_the_signature_shows_every_option_with_its_default() -> None:
    plain = TrainConfig()
    for function, own in ((excite.train, set()), (excite.study, {"folds", "jobs", "out"})):
        parameters = inspect.signature(function).parameters
        assert all(each.kind is not inspect.Parameter.VAR_KEYWORD for each in parameters.values())
        for name in HINTS.keys() - {"data"} - own:
            assert parameters[name].default == getattr(plain, name), name
            assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
