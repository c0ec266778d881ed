"""A study on a Ray cluster of two nodes has the results of one machine, bit for bit."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

from excite.plugins.loading import load_modules
from excite.study.plan import Plan, parse_arm
from excite.study.store.leases import location_of
from excite.study.study import Study, begin
from excite.system.progress import Display
from tests.conftest import make_pictures
from tests.study.small_study import BASE, NET, begun, trained

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[str, dict[str, str]]]:
    """Two nodes with folders of their own, let in by a token; the address and the environment to join in."""
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    script = Path(sys.executable).with_name("ray")
    address = f"127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory(prefix="ry") as place:  # sockets have short names
        token = Path(place) / "token"
        token.write_text("0123456789abcdef" * 4)
        environment = {
            **os.environ,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",  # at 15, Ray's own, they starve beside other tests
            "OMP_NUM_THREADS": "1",
        }
        nodes = []
        for number in (1, 2):
            head = ["--head", f"--port={address.split(':')[1]}", "--include-dashboard=false"]
            call = [
                str(script),
                "start",
                *(head if number == 1 else [f"--address={address}"]),
                "--num-cpus=1",
            ]
            call += ["--node-ip-address=127.0.0.1", "--object-store-memory=80000000", "--block"]
            call += [f"--temp-dir={place}/n{number}"]
            log = (Path(place) / f"log{number}").open("w")
            nodes.append(
                subprocess.Popen(call, env=environment, stdout=log, stderr=log, start_new_session=True)
            )
            wait_for_nodes(script, address, environment, number)
        yield address, environment
        for node in reversed(nodes):
            node.terminate()
        for node in nodes:
            node.wait(timeout=60)
    assert ray.__version__


def wait_for_nodes(script: Path, address: str, environment: dict[str, str], count: int) -> None:
    """Return when so many nodes are alive."""
    code = f"""
import ray, time
for _ in range(120):
    try:
        ray.init("{address}", log_to_driver=False, logging_level="ERROR")
        if sum(node["Alive"] for node in ray.nodes()) >= {count}:
            break
        ray.shutdown()
    except Exception:
        pass
    time.sleep(0.5)
else:
    raise SystemExit("no cluster")
"""
    subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, timeout=180, capture_output=True
    )


def test_two_nodes_give_the_results_of_one_machine_bit_for_bit(
    cluster: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    address, environment = cluster
    data = make_pictures(tmp_path / "pictures", classes=2)
    here = trained(begun(data, tmp_path / "here", seeds=3))
    there = begun(data, tmp_path / "there", seeds=3)
    call = [sys.executable, "-m", "excite", "study", "resume", str(there.folder), "--ray", address]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    assert results(there) == results(here)
    code = f"""
import ray
ray.init("{address}", log_to_driver=False, logging_level="ERROR")
print(*(node["NodeID"] for node in ray.nodes()))
"""
    asked = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, timeout=180, capture_output=True, text=True
    )
    nodes = {f"node {one[:8]}" for one in asked.stdout.split()}
    assert len(nodes) == 2
    assert {location_of(cell.worker).split(", ")[1] for cell in there.store.cells(there.name)} == nodes
    status = subprocess.run(
        [sys.executable, "-m", "excite", "study", "status", str(there.folder)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(one in status.stdout for one in nodes)


def test_without_the_token_no_connection_is_accepted(
    cluster: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    address, environment = cluster
    study = begun(make_pictures(tmp_path / "pictures", classes=2), tmp_path / "study", seeds=1)
    wrong = tmp_path / "wrong"
    wrong.write_text("f" * 64)
    call = [sys.executable, "-m", "excite", "study", "resume", str(study.folder), "--ray", address]
    other = {**environment, "RAY_AUTH_TOKEN_PATH": str(wrong)}
    done = subprocess.run(call, env=other, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 1
    assert "cannot join the cluster" in done.stderr
    assert study.store.counts(study.name)["waiting"] == 2


def test_nodes_import_the_modules_of_the_command(
    cluster: tuple[str, dict[str, str]], tmp_path: Path, own_names: None
) -> None:
    """From the working directory of the command, which is not that of the nodes."""
    address, environment = cluster
    (tmp_path / "my_ray_parts.py").write_text(
        "import excite\nfrom torch import nn\n\n"
        "@excite.register('attention', 'scaled')\n"
        "class Scaled(nn.Module):\n"
        "    def __init__(self, channels):\n"
        "        super().__init__()\n"
        "    def forward(self, u):\n"
        "        return 0.5 * u\n"
    )
    load_modules(["my_ray_parts"], tmp_path)
    data = make_pictures(tmp_path / "pictures", classes=2)
    arm = parse_arm(f"own:{NET}+scaled,placement=block")
    plan = Plan(BASE.replace(data=str(data)), [arm], seeds=1)
    here = trained(begin(plan, tmp_path / "here", None, Display())[0])
    there, _ = begin(plan, tmp_path / "there", None, Display())
    call = [sys.executable, "-m", "excite", "study", "resume", str(there.folder), "--ray", address]
    call += ["--import", "my_ray_parts", "--jobs", "1"]
    done = subprocess.run(
        call, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr
    assert results(there) == results(here)


def results(study: Study) -> dict[tuple[str, int, int], bytes]:
    return {(row.arm, row.seed, row.fold): row.probabilities for row in study.store.results(study.name)}
