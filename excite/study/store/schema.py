"""The tables of a store; a change to them raises ``VERSION``."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

VERSION = 2

WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"
"""States of a cell."""

metadata = sa.MetaData()


def _key(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, primary_key=True, autoincrement=False)


schema = sa.Table("excite_schema", metadata, _key("version", sa.Integer))

studies = sa.Table(
    "excite_studies",
    metadata,
    _key("study", sa.String),
    sa.Column("document", sa.JSON, nullable=False),
    sa.Column("created", sa.Float(53), nullable=False),
)

images = sa.Table(
    "excite_images",
    metadata,
    _key("study", sa.String),
    _key("number", sa.Integer),
    sa.Column("path", sa.String, nullable=False),
    sa.Column("label", sa.String, nullable=False),
    sa.Column("group", sa.String, nullable=False),
)

arms = sa.Table(
    "excite_arms",
    metadata,
    _key("study", sa.String),
    _key("arm", sa.String),
    sa.Column("place", sa.Integer, nullable=False),
    sa.Column("content", sa.JSON, nullable=False),
)

cells = sa.Table(
    "excite_cells",
    metadata,
    _key("study", sa.String),
    _key("arm", sa.String),
    _key("seed", sa.Integer),
    _key("fold", sa.Integer),
    sa.Column("state", sa.String, nullable=False, index=True),
    sa.Column("token", sa.String, nullable=False, default=""),
    sa.Column("worker", sa.String, nullable=False, default=""),
    sa.Column("lease_until", sa.Float(53), nullable=False, default=0.0),
    sa.Column("tries", sa.Integer, nullable=False, default=0),
    sa.Column("deaths", sa.Integer, nullable=False, default=0),
    sa.Column("started", sa.Float(53)),
    sa.Column("ended", sa.Float(53)),
    sa.Column("error", sa.String, nullable=False, default=""),
)

results = sa.Table(
    "excite_results",
    metadata,
    _key("study", sa.String),
    _key("arm", sa.String),
    _key("seed", sa.Integer),
    _key("fold", sa.Integer),
    sa.Column("result", sa.JSON, nullable=False),
    sa.Column("images", sa.LargeBinary, nullable=False),
    sa.Column("probabilities", sa.LargeBinary, nullable=False),
)

looks = sa.Table(
    "excite_looks",
    metadata,
    _key("study", sa.String),
    _key("digest", sa.String),
    sa.Column("seen", sa.Float(53), nullable=False),
    sa.Column("seeds", sa.Integer, nullable=False),
    sa.Column("cells", sa.JSON, nullable=False),
)
