"""Files of torch.export: read in a fresh process by PyTorch alone, and never by excite."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import excite
from excite.data.sources import PixelSubset
from excite.export.export import export_run
from excite.runs.run import Run

LOAD = """
import sys
import numpy as np, torch
model = torch.export.load(sys.argv[1]).module()
pixels = torch.from_numpy(np.load(sys.argv[2]))
np.save(sys.argv[3], torch.cat([model(part)[0] for part in pixels.split(3)]).detach().numpy())
assert not any(name.split(".")[0] == "excite" for name in sys.modules)
"""


@pytest.mark.slow
def test_pytorch_reads_it_without_excite(run: Run, tmp_path: Path) -> None:
    [exported] = export_run(run, ["torch"], tmp_path / "x.pt2")
    pixels = np.random.default_rng(0).integers(0, 256, (10, 16, 16, 3), dtype=np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    call = [sys.executable, "-c", LOAD, exported.path, tmp_path / "pixels.npy", tmp_path / "found.npy"]
    subprocess.run(call, check=True, cwd=tmp_path)
    expected = excite.Classifier.load(run).probabilities(PixelSubset(pixels))
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), expected, atol=1e-6)
    with zipfile.ZipFile(exported.path) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("excite.json")]
        assert json.loads(archive.read(name))["classes"] == ["a", "b", "c"]


def test_excite_never_loads_such_a_file() -> None:
    for path in Path(excite.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in ("torch.export.load", "torch.jit.load"), path
