"""Constraints for pip: the lowest version that pyproject.toml allows of each dependency but PyTorch.

``python .ci/lowest.py >constraints.txt`` writes one line, such as ``numpy==2.0.*``, for each dependency of
excite and of its extras, without those of developers.
"""

import re
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NEWEST = ("torch", "torchvision")  # old builds do not exist for every Python and processor

requirements = list(PROJECT["dependencies"])
for extra, needed in PROJECT["optional-dependencies"].items():
    requirements += needed if extra not in ("dev", "docs") else []
for requirement in requirements:
    name, version = re.match(r"([\w.-]+)(?:\[.*\])?[>=]=([\d.]+)", requirement).groups()
    parts = version.split(".")
    if name not in NEWEST:
        print(f"{name}=={version}" if len(parts) > 2 else f"{name}=={'.'.join((*parts, '0')[:2])}.*")
