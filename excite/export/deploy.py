"""Files to run an exported ONNX file as a service: container, systemd, Kubernetes, Triton, and KServe."""

from __future__ import annotations

import re
import shutil
import string
from contextlib import suppress
from importlib import resources
from pathlib import Path

from excite.bundle.format import EVIDENCE, KEY, MEMBERS, PIXELS, PROBABILITIES, BundleInfo
from excite.bundle.onnx_file import read_onnx_facts
from excite.export.publish import unpublished
from excite.version import __version__

TEMPLATES = ("Containerfile", "excite.service", "kubernetes.yaml", "kserve.yaml")
MODEL = "model.onnx"
_LONGEST = 40  # characters of a name; Kubernetes allows 63, and adds to them
_MAX_BATCH = 16


def write_deployment(file: Path, folder: Path) -> None:
    """Write a folder with the ONNX file and the files that run it.

    Args:
        file: the exported file.
        folder: must not exist.

    Raises:
        ExciteError: if the folder exists or cannot be written.
    """
    info = BundleInfo.from_json(read_onnx_facts(file.read_bytes(), where=file).metadata.get(KEY), where=file)
    name = slug(info.name)
    values = {"slug": name, "version": __version__}
    with unpublished(folder) as temporary:
        temporary.mkdir()
        shutil.copyfile(file, temporary / MODEL)
        for each in TEMPLATES:
            template = resources.files("excite.export") / "deploy_templates" / each
            text = string.Template(template.read_text(encoding="utf-8")).substitute(values)
            (temporary / each).write_text(text, encoding="utf-8")
        (temporary / ".dockerignore").write_text(f"*\n!{MODEL}\n!excite-*.whl\n", encoding="utf-8")
        repository = temporary / "triton" / name
        (repository / "1").mkdir(parents=True)
        _link(temporary / MODEL, repository / "1" / MODEL)
        (repository / "config.pbtxt").write_text(triton_config(info, name), encoding="utf-8")


def slug(name: str) -> str:
    """A name as Kubernetes allows it: lower-case letters, digits, and dashes.

    >>> slug("Photos 2024 (final)"), slug("图片")
    ('photos-2024-final', 'classifier')
    """
    text = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:_LONGEST].rstrip("-")
    return text if text[:1].isalpha() else f"classifier-{text}".rstrip("-")


def triton_config(info: BundleInfo, name: str) -> str:
    """The ``config.pbtxt`` of a classifier for NVIDIA Triton, which takes pixels, not image files."""
    size, classes = info.preprocessing.image_size, len(info.classes)
    dims = {PROBABILITIES: [classes], EVIDENCE: [classes, -1, -1], MEMBERS: [info.members, classes]}
    lines = [
        f'name: "{name}"',
        'platform: "onnxruntime_onnx"',
        f"max_batch_size: {_MAX_BATCH}",
        f'input [ {{ name: "{PIXELS}" data_type: TYPE_UINT8 dims: [ {size}, {size}, 3 ] }} ]',
        "output [",
        ",\n".join(
            f'  {{ name: "{each}" data_type: TYPE_FP32 dims: [ {", ".join(map(str, dims[each]))} ] }}'
            for each in info.outputs
        ),
        "]",
        "instance_group [ { kind: KIND_CPU count: 2 } ]",
        'parameters { key: "intra_op_thread_count" value: { string_value: "1" } }',
    ]
    return "\n".join(lines) + "\n"


def _link(source: Path, target: Path) -> None:
    """The same file under another name, or a copy where the file system has no links."""
    with suppress(OSError):
        target.hardlink_to(source)
        return
    shutil.copyfile(source, target)
