"""A name means one thing: what is registered is found by it, and no name is taken twice."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

import excite
from excite.attention.registry import attention_names
from excite.attention.squeeze_excitation import SqueezeExcitation
from excite.errors import ExciteError
from excite.plugins.loading import load_modules
from excite.plugins.registry import KINDS, find, get, names, own_plugins, register_built_in

pytestmark = pytest.mark.usefixtures("own_names")


def write_module(folder: Path, name: str, kind: str = "loss", registered: str = "mine") -> Path:
    file = folder / f"{name}.py"
    file.write_text(
        f"import excite\n\n@excite.register({kind!r}, {registered!r})\ndef build():\n    return {name!r}\n"
    )
    return file


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_registered_is_found_by_its_kind_and_name(kind: str) -> None:
    assert find(kind, "mine") is None

    @excite.register(kind, "mine")
    def build() -> str:
        return "built"

    assert get(kind, "mine").factory is build
    assert build() == "built"  # the decorator returns what it decorates
    assert "mine" in names(kind)
    assert [(each.kind, each.name) for each in own_plugins()] == [(kind, "mine")]
    assert all(find(other, "mine") is None for other in KINDS if other != kind)


def test_built_in_names_are_registered_in_the_same_place() -> None:
    assert get("attention", "se").factory is SqueezeExcitation
    assert get("attention", "se").built_in
    assert attention_names() == names("attention")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("attention", "se"),
        ("model", "densenet121"),
        ("augmentation", "standard"),
        ("loss", "cross_entropy"),
        ("hook", "mlflow"),
    ],
)
def test_a_built_in_name_is_refused(kind: str, name: str) -> None:
    get(kind, name)
    with pytest.raises(
        ExciteError, match=rf"{kind} '{name}' .* is registered already, by excite\."
    ) as raised:
        excite.register(kind, name)(lambda: None)
    assert raised.value.exit_code == 2


def test_a_name_of_excite_is_refused_whichever_comes_first() -> None:
    excite.register("attention", "later")(lambda channels: None)
    with pytest.raises(ExciteError, match=r"'later' of excite.attention.later is registered already"):
        register_built_in("attention", "excite.attention.later", [("later", SqueezeExcitation)])


def test_two_modules_cannot_register_one_name(tmp_path: Path) -> None:
    for name in ("my_first", "my_second"):
        write_module(tmp_path, name)
    load_modules(["my_first.py"], tmp_path)
    with pytest.raises(ExciteError, match=r"'mine' of my_second is registered already, by my_first"):
        load_modules(["my_second.py"], tmp_path)


def test_the_same_code_may_run_again_as_in_a_notebook() -> None:
    cell = "@register('loss', 'cell')\ndef loss():\n    return 1\n"
    for _ in range(2):
        exec(cell, {"register": excite.register, "__name__": "__main__"})
    with pytest.raises(ExciteError, match="registered already"):
        exec(cell.replace("def loss", "def other"), {"register": excite.register, "__name__": "__main__"})


@pytest.mark.parametrize("name", ["", "auto", "none", "two words", "a+b", "a,b", "timm:x", "-x", "../x"])
def test_a_name_that_options_could_not_take_is_refused(name: str) -> None:
    with pytest.raises(ExciteError, match="cannot be the name of an attention"):
        excite.register("attention", name)


def test_an_unknown_kind_and_an_unknown_name_are_refused_with_the_nearest() -> None:
    with pytest.raises(ExciteError, match=r"unknown kind 'atention' .did you mean 'attention'"):
        excite.register("atention", "x")
    excite.register("loss", "focal")(lambda: None)
    with pytest.raises(ExciteError, match=r"unknown attention 'unheard' .*: --import MODULE"):
        get("attention", "unheard")
    with pytest.raises(ExciteError, match=r"unknown loss 'vocal' .did you mean 'focal'.\)"):
        get("loss", "vocal")


def test_the_source_is_that_of_the_module_when_it_was_imported(tmp_path: Path) -> None:
    file = write_module(tmp_path, "my_source")
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    load_modules(["my_source"], tmp_path)
    file.write_text("changed while the training runs")
    plugin = get("loss", "mine")
    assert (plugin.module, plugin.file, plugin.sha256) == ("my_source", file, before)
