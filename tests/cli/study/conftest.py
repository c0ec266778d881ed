"""The fixtures of tests/study."""

from __future__ import annotations

from tests.study.conftest import _close_databases as _close_databases
from tests.study.conftest import _opened as _opened
from tests.study.conftest import data as data
from tests.study.conftest import done as done
