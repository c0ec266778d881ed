"""The exported file of a run: the one that is there, or a new one."""

from __future__ import annotations

from pathlib import Path

from excite.bundle.format import KEY, BundleInfo
from excite.bundle.onnx_file import read_onnx_facts
from excite.errors import ExciteError
from excite.export.export import export_run
from excite.export.source import weight_hashes
from excite.runs.moved_data import open_run


def exported_file(path: Path, data_root: Path | None = None) -> Path:
    """The ONNX file of a run, ``<run>/<name>.onnx``; exported if there is none.

    Args:
        path: the run folder.
        data_root: folder that the run's data is in now, if it has moved.

    Raises:
        ExciteError: if the file was exported from other weights, and as ``export_run``.
    """
    run = open_run(path, data_root)
    file = run.path / f"{run.path.resolve().name}.onnx"
    if not file.exists():
        return export_run(run, ["onnx"])[0].path
    facts = read_onnx_facts(file.read_bytes(), where=file)
    info = BundleInfo.from_json(facts.metadata.get(KEY), where=file)
    if dict(info.sha256) != weight_hashes(run):
        hint = "remove it, and run the command again"
        raise ExciteError("was exported from other weights than those of the run now", where=file, hint=hint)
    return file
