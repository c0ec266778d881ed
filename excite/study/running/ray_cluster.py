"""The driver on a Ray cluster: one worker per core or GPU, on any node."""

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
from excite.study.running.worker_options import NO_OPTIONS, WorkerOptions
from excite.study.store.leases import LEASE
from excite.study.store.schema import RUNNING, WAITING
from excite.study.store.store import Store
from excite.study.study import Study
from excite.system.signals import StopRequest, stop_requests


def run_on_ray(
    study: Study,
    address: str,
    live_table: LiveTable,
    *,
    jobs: int | None = None,
    device: str = "auto",
    lease_seconds: float = LEASE,
    options: WorkerOptions = NO_OPTIONS,
) -> None:
    """Train all remaining cells on a cluster started with ``ray start``.

    All nodes must reach the store, and access the folder of the study, the images, and the user's modules
    under the same paths.
    The cluster requires a token, unless ``RAY_AUTH_MODE`` is set otherwise.

    Args:
        study: the study.
        address: address of the cluster.
        live_table: shows the progress.
        jobs: number of workers; None: one per GPU or core.
        device: ``cpu``, ``cuda`` or ``auto``.
        lease_seconds: seconds after which the lease of a silent worker expires.
        options: what workers get beside the plan.

    Raises:
        ExciteError: as ``run_here``, and for a cluster that cannot be joined or used.
    """
    os.environ.setdefault("RAY_AUTH_MODE", "token")  # read when ray is imported
    try:
        import ray
    except ModuleNotFoundError as error:
        hint = 'pip install "excite[study]"'
        raise ExciteError("Ray is not installed", where="--ray", hint=hint) from error
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # wrong address, missing token, different version, ...
        reason = " ".join(str(error).split())[:300]
        hint = "start the nodes with RAY_AUTH_MODE=token; ray get-auth-token prints the token"
        raise ExciteError(
            f"cannot join the cluster: {reason}", where=f"--ray {address}", hint=hint
        ) from error
    try:
        slots = _slots(ray, study, jobs, device)
        with stop_requests() as request:
            workers = _RayWorkers(ray, study, lease_seconds, options.here())
            try:
                _drive(study, workers, live_table, slots, request)
            except BaseException:
                workers.stop()
                raise
    finally:
        ray.shutdown()
    refuse_failed(study)


def _slots(ray: Any, study: Study, jobs: int | None, device: str) -> list[str]:
    """The device of each worker: all GPUs if there are any, otherwise all cores."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    _refuse_shared_sqlite(study, {node["NodeManagerHostname"] for node in nodes})
    resources = ray.cluster_resources()
    gpus, cores = int(resources.get("GPU", 0)), int(resources.get("CPU", 0))
    wanted = ("cuda" if gpus else "cpu") if device == "auto" else device
    count = gpus if wanted == "cuda" else cores
    left = len(study.store.cells(study.name))
    if not count:
        raise ExciteError(f"the cluster has no {wanted} device", where="--ray", exit_code=BAD_USAGE)
    return [wanted] * max(1, min(jobs or count, count, left))


class _RayWorkers:
    """The workers of a study on a cluster; one that dies is replaced."""

    def __init__(self, ray: Any, study: Study, lease_seconds: float, options: WorkerOptions) -> None:
        self._ray, self._study = ray, study
        self._remote = ray.remote(max_retries=0, max_calls=1, scheduling_strategy="SPREAD")(_take_cells)
        self._arguments = str(study.folder.resolve()), study.store.url, study.name
        self._lease_seconds, self._options = lease_seconds, options.to_json()
        self._active: dict[Any, tuple[str, str]] = {}  # task -> name and device of the worker

    def __len__(self) -> int:
        return len(self._active)

    def start(self, device: str) -> None:
        name = worker_name(len(self._active) + 1)
        resources = {"num_gpus": 1} if device == "cuda" else {"num_cpus": 1}
        task = self._remote.options(**resources).remote(
            *self._arguments, device, name, self._lease_seconds, self._options
        )
        self._active[task] = name, device

    def wait(self, seconds: float) -> list[tuple[str, Exception]]:
        """Wait for the first worker to end; (device, error) of each that died."""
        if not self._active:
            time.sleep(seconds)
            return []
        ended, _ = self._ray.wait(list(self._active), timeout=seconds)
        deaths = []
        for task in ended:
            name, device = self._active.pop(task)
            try:
                self._ray.get(task)
            except Exception as error:  # the process or its node is gone, or the worker gave up
                self._study.store.release_all(self._study.name, name)
                deaths.append((device, error))
        return deaths

    def stop(self) -> None:
        """Ask all workers to stop, and end those that do not."""
        for task in self._active:
            self._ray.cancel(task)
        self._ray.wait(list(self._active), num_returns=len(self._active), timeout=FAREWELL / 4)
        for task, (name, _) in self._active.items():
            with contextlib.suppress(Exception):
                self._ray.cancel(task, force=True)
            self._study.store.release_all(self._study.name, name)


def _drive(
    study: Study, workers: _RayWorkers, live_table: LiveTable, slots: list[str], request: StopRequest
) -> None:
    """Keep one worker per slot at work until no cell is left."""
    for device in slots:
        workers.start(device)
    deaths, done = 0, -1
    while True:
        counts = study.store.counts(study.name)
        live_table.show(study)
        if counts["done"] != done:
            deaths, done = 0, counts["done"]
        if not counts[WAITING] + counts[RUNNING]:
            return
        for device, error in workers.wait(LOOK):
            deaths += 1
            if deaths >= MOST_DEATHS:
                reason = " ".join(str(error).split())[-300:]
                raise ExciteError(f"workers die right after they start: {reason}", where="--ray") from error
            workers.start(device)
        if not len(workers) and counts[WAITING]:
            workers.start(slots[0])
        stop_if_asked(request, study)


def _take_cells(
    folder: str, url: str, study: str, device: str, name: str, lease_seconds: float, options: str
) -> None:
    """The task of a worker, in a process of Ray."""
    import ray

    from excite.study.running.worker import work

    node = ray.get_runtime_context().get_node_id()[:8]
    # One thread, as for local workers: the number of threads can change the last bit of a result.
    work(
        Study(Path(folder), Store(url), study),
        device=device,
        threads=1,
        name=name,
        lease_seconds=lease_seconds,
        node=node,
        options=WorkerOptions.from_json(options),
    )


def _refuse_shared_sqlite(study: Study, machines: set[str]) -> None:
    """Raises: ExciteError if several machines would share an SQLite file, which network disks corrupt."""
    if len(machines) > 1 and study.store.local:
        hint = "--store postgresql://host/database"
        what = f"{len(machines)} machines cannot share an SQLite file"
        raise ExciteError(what, where="--ray", hint=hint, exit_code=BAD_USAGE)
