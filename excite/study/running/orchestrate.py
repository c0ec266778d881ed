"""A study from its plan to its report: start, forecast, train, report."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from excite.config.train_config import TrainConfig
from excite.data.paths import refuse_inside_data
from excite.errors import BAD_USAGE, ExciteError
from excite.evaluation.power import largest_difference
from excite.plugins.record import require_plugins
from excite.reporting.tables import NAMES
from excite.reporting.text import many
from excite.study.moved_data import adopt_paths
from excite.study.plan import Arm, Plan, arm_config
from excite.study.presets import MODEL, get_preset
from excite.study.results import sentences
from excite.study.results.report import write_study
from excite.study.running.forecast import (
    ArmCost,
    estimate_arm_costs,
    process_memory,
    smallest_difference,
    total_seconds,
)
from excite.study.running.live_table import LiveTable
from excite.study.running.local import WorkerPool, choose_pool, run_here
from excite.study.running.worker_options import WorkerOptions
from excite.study.store.leases import LEASE
from excite.study.store.schema import DONE, RUNNING, WAITING
from excite.study.study import FILE, Study, begin, copy_study
from excite.system.progress import Display, clock


@dataclass(frozen=True)
class Resources:
    """The resources of a study.

    Args:
        device: as ``TrainConfig.device``.
        jobs: number of parallel workers; None: as many as fit.
        ray: address of a Ray cluster; None: this machine.
        lease_seconds: seconds after which the lease of a silent worker expires.
        options: what workers get beside the plan.
    """

    device: str = "auto"
    jobs: int | None = None
    ray: str | None = None
    lease_seconds: float = LEASE
    options: WorkerOptions = WorkerOptions()


def preset_arms(name: str, base: TrainConfig, display: Display) -> list[Arm]:
    """The arms of a preset for a network; arms that it does not support are left out, with a note."""
    from excite.models.catalog import create_model, has_attention_options
    from excite.runs.derive import architecture_of

    supported = []
    for arm in get_preset(name).arms(MODEL if base.model == "auto" else base.model):
        config = arm_config(base.replace(image_size=base.image_size or 224), arm)
        if config.placement == "auto":
            config = config.replace(placement="final" if has_attention_options(config.model) else "standard")
        try:
            create_model(**architecture_of(config, 2))
        except ExciteError as error:
            display.note(f"left out: arm {arm.name}: {error}")
        else:
            supported.append(arm)
    if len(supported) < 2:
        hint = "choose another network with --model"
        raise ExciteError(
            "the network supports none of the arms", where=f"--plan {name}", hint=hint, exit_code=BAD_USAGE
        )
    return supported


def start(
    plan: Plan,
    folder: Path,
    store: str | None,
    resources: Resources,
    display: Display,
    std: float | None = None,
) -> tuple[Study, WorkerPool, str]:
    """Begin a study and forecast its duration and its power.

    Returns: the study, the workers, and the forecast as text.
    """
    before = Study.open(folder, store).images if (folder / FILE).is_file() else None
    study, new = begin(plan, folder, store, display)
    if before is not None:  # the same images, perhaps at another place
        adopt_paths(study, before, study.images)
    with display.waiting("timing a few steps of each arm"):
        pool, costs = forecast_cost(study, resources)
    return study, pool, outlook(study, pool, costs, new, std)


def rehearse(
    plan: Plan, folder: Path, resources: Resources, display: Display, std: float | None = None
) -> str:
    """The forecast of ``start``, for which nothing is written into the folder or a store.

    A study in the folder counts with its finished cells, unless they are in another store.
    """
    refuse_inside_data(folder, plan.base.data)
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "study"
        copy_study(folder, copy)
        study, _, forecast = start(plan, copy, None, resources, display, std)
        study.store.close()
    return forecast


def forecast_cost(study: Study, resources: Resources) -> tuple[WorkerPool, dict[str, ArmCost]]:
    """Time a few steps of every arm, and choose the number of workers."""
    left = sum(cell.state != DONE for cell in study.store.cells(study.name))
    pool = choose_pool(resources.device, resources.jobs, None, left)
    costs = estimate_arm_costs(study, pool.devices[0], pool.threads)
    return choose_pool(resources.device, resources.jobs, process_memory(costs), left), costs


def _pool(study: Study, resources: Resources) -> WorkerPool:
    """The requested number of workers, or as many as fit."""
    if resources.jobs is None:
        return forecast_cost(study, resources)[0]
    counts = study.store.counts(study.name)
    return choose_pool(resources.device, resources.jobs, None, counts[WAITING] + counts[RUNNING])


def outlook(study: Study, pool: WorkerPool, costs: dict[str, ArmCost], new: int, std: float | None) -> str:
    """The forecast: number of cells, duration and power."""
    cells = study.store.cells(study.name)
    seeds, folds = len({cell.seed for cell in cells}), study.folds
    done = sum(cell.state == DONE for cell in cells)
    text = f"{many(len(cells), 'cell')}: {many(len(study.arms), 'arm')}, {many(seeds, 'seed')}"
    text += f", {folds} folds" if folds else ""
    text += f"; {done} done, {new} new\n"
    text += f"{pool}, about {clock(total_seconds(study, costs, len(pool.devices)))}\n"
    metric = study.document["metric"]
    if len(study.arms) > 1 and seeds * (folds or 1) < 2:
        text += "cannot detect a difference with one training per arm; add seeds"
    elif len(study.arms) > 1:
        smallest, assumption = smallest_difference(study, std, seeds)
        if smallest > largest_difference(metric):
            text += (
                f"cannot detect any possible difference in {NAMES[metric][0]} with 80 % power, {assumption}; "
            )
            text += "add seeds or images"
        else:
            text += f"can detect a difference of {sentences.amount(smallest, metric)} in {NAMES[metric][0]} "
            text += f"with 80 % power, {assumption}"
    return text.rstrip()


def continue_study(
    study: Study, resources: Resources, pool: WorkerPool | None, live_table: LiveTable
) -> None:
    """Train the remaining cells, here or on a cluster, and write the report, even if cells have failed.

    The report is a look at the results, so an interruption writes none.

    Raises:
        ExciteError: if a plug-in of an arm is missing, and as ``run_here`` or ``run_on_ray``.
    """
    resources.options.load()
    noted = [each for arm in study.arms.values() for each in arm.get("plugins", ())]
    require_plugins({(each["kind"], each["name"]): each for each in noted}.values(), study.folder)
    study.store.retry(study.name)
    counts = study.store.counts(study.name)
    try:
        if not counts[WAITING] + counts[RUNNING]:
            live_table.show(study)
        elif resources.ray is not None:
            from excite.study.running.ray_cluster import run_on_ray

            run_on_ray(
                study,
                resources.ray,
                live_table,
                jobs=resources.jobs,
                device=resources.device,
                lease_seconds=resources.lease_seconds,
                options=resources.options,
            )
        else:
            run_here(
                study,
                pool or _pool(study, resources),
                live_table,
                lease_seconds=resources.lease_seconds,
                options=resources.options,
            )
    finally:
        live_table.close()
        counts = study.store.counts(study.name)
        if counts[DONE] and not counts[WAITING] + counts[RUNNING]:
            write_study(study)
