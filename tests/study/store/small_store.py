"""A store of a few cells."""

from __future__ import annotations

import pytest

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

from excite.study.store.store import Store

STUDY = "a" * 64


def content(**options: object) -> dict[str, object]:
    return {"options": options, "baseline": None, "parameters": 1, "multiply_adds": 1}


def new_store(url: str, arms: int = 2, seeds: int = 3, folds: int = 1) -> Store:
    store = Store(url, patience=20)
    store.begin(STUDY, {"folds": None}, [{"number": 0, "path": "a.png", "label": "a", "group": ""}])
    store.extend(STUDY, {f"arm{n}": content(epochs=n) for n in range(arms)}, seeds, folds)
    return store


def finish(store: Store, lease: object, value: float = 0.5) -> bool:
    return store.finish(STUDY, lease, {"value": value}, b"numbers", b"said")  # type: ignore[arg-type]
