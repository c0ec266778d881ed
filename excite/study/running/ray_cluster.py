"""The driver on a Ray cluster: one worker a core or a GPU, on whatever node."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from pathlib import Path
from typing import Any

from excite.errors import BAD_USAGE, ExciteError
from excite.study.running.live_table import LiveTable
from excite.study.running.local import FAREWELL, LOOK, MOST_DEATHS, refuse_failed, stop_if_asked, worker_name
from excite.study.store.leases import LEASE
from excite.study.store.schema import RUNNING, WAITING
from excite.study.store.store import Store
from excite.study.study import Study
from excite.system.signals import stop_requests


def run_on_ray(
    study: Study,
    address: str,
    live_table: LiveTable,
    *,
    jobs: int | None = None,
    device: str = "auto",
    lease_seconds: float = LEASE,
) -> None:
    """Train every cell that is left on a cluster that ``ray start`` has begun.

    The nodes must reach the store, and see the study's folder and the images under the same paths. Nobody is
    let in without the cluster's token, unless ``RAY_AUTH_MODE`` says otherwise.

    Raises: ExciteError as ``run_here``, and for a cluster that cannot be joined or used.
    """
    os.environ.setdefault("RAY_AUTH_MODE", "token")  # read when ray is imported
    try:
        import ray
    except ModuleNotFoundError as error:
        hint = 'pip install "excite[study]"'
        raise ExciteError("Ray is not installed", where="--ray", hint=hint) from error
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # of many kinds: no such address, no token, another version
        reason = " ".join(str(error).split())[:300]
        hint = "start the nodes with RAY_AUTH_MODE=token; ray get-auth-token shows the token"
        raise ExciteError(
            f"the cluster cannot be joined: {reason}", where=f"--ray {address}", hint=hint
        ) from error
    try:
        slots = _slots(ray, study, jobs, device)
        with stop_requests() as request:
            _drive(ray, study, live_table, slots, lease_seconds, request)
    finally:
        ray.shutdown()
    refuse_failed(study)


def _slots(ray: Any, study: Study, jobs: int | None, device: str) -> list[str]:
    """The device of each worker: all GPUs if there are any, else all cores."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    _refuse_shared_sqlite(study, {node["NodeManagerHostname"] for node in nodes})
    there = ray.cluster_resources()
    gpus, cores = int(there.get("GPU", 0)), int(there.get("CPU", 0))
    wanted = ("cuda" if gpus else "cpu") if device == "auto" else device
    count = gpus if wanted == "cuda" else cores
    left = len(study.store.cells(study.name))
    if not count:
        raise ExciteError(f"the cluster has no {wanted}", where="--ray", exit_code=BAD_USAGE)
    return [wanted] * max(1, min(jobs or count, count, left))


def _drive(
    ray: Any, study: Study, live_table: LiveTable, slots: list[str], lease_seconds: float, request: Any
) -> None:
    folder, url = str(study.folder.resolve()), study.store.url
    remote = ray.remote(max_retries=0, max_calls=1, scheduling_strategy="SPREAD")(_take_cells)
    at_work: dict[Any, tuple[str, str]] = {}

    def start(device: str) -> None:
        name = worker_name(len(at_work) + 1)
        needs = {"num_gpus": 1} if device == "cuda" else {"num_cpus": 1}
        at_work[remote.options(**needs).remote(folder, url, study.name, device, name, lease_seconds)] = (
            name,
            device,
        )

    for device in slots:
        start(device)
    deaths, done = 0, -1
    try:
        while True:
            counts = study.store.counts(study.name)
            live_table.show(study)
            if counts["done"] != done:
                deaths, done = 0, counts["done"]
            if not counts[WAITING] + counts[RUNNING]:
                break
            ended, _ = ray.wait(list(at_work), timeout=LOOK) if at_work else ([], [])
            for one in ended:
                name, device = at_work.pop(one)
                try:
                    ray.get(one)
                except Exception as error:  # the process or its node is gone, or the worker gave up
                    study.store.release_all(study.name, name)
                    deaths += 1
                    if deaths >= MOST_DEATHS:
                        text = " ".join(str(error).split())[-300:]
                        raise ExciteError(
                            f"workers end as soon as they begin: {text}", where="--ray"
                        ) from error
                    start(device)
            if not at_work:
                if counts[WAITING]:
                    start(slots[0])
                time.sleep(LOOK)
            stop_if_asked(request, study)
    except BaseException:
        for one in at_work:
            ray.cancel(one)
        ray.wait(list(at_work), num_returns=len(at_work), timeout=FAREWELL / 4)
        for one, (name, _) in at_work.items():
            with contextlib.suppress(Exception):
                ray.cancel(one, force=True)
            study.store.release_all(study.name, name)
        raise


def _take_cells(folder: str, url: str, study: str, device: str, name: str, lease_seconds: float) -> None:
    """What a worker does, in a process of Ray's."""
    import ray

    from excite.study.running.worker import work

    node = ray.get_runtime_context().get_node_id()[:8]
    # One thread, as the workers of a machine have: the number of threads may change a result's last bit.
    work(
        Study(Path(folder), Store(url), study),
        device=device,
        threads=1,
        name=name,
        lease_seconds=lease_seconds,
        node=node,
    )


def _refuse_shared_sqlite(study: Study, machines: set[str]) -> None:
    """Raises: ExciteError where several machines would write one SQLite file, which network disks corrupt."""
    if len(machines) > 1 and study.store.local:
        hint = "--store postgresql://host/database"
        what = f"{len(machines)} machines cannot share an SQLite file"
        raise ExciteError(what, where="--ray", hint=hint, exit_code=BAD_USAGE)
