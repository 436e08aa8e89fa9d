"""Training in processes of a Ray cluster, through Ray Train.

Ray starts the processes, lets them find each other, and starts all of them again where one dies; the run then goes on
from its last saved state.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from lightning.fabric import Fabric
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from sammed3d.errors import ModelError, SAMMed3DError
from sammed3d.files.alone import alone_in
from sammed3d.ray_cluster import MISSING, joined
from sammed3d.training.launch import large_enough, precision_of, several_processes, train_in
from sammed3d.training.prepared import find_samples
from sammed3d.training.recipe import Recipe

RESTARTS = 3
"""How often processes are started again."""
WORK = "ray"
"""Folder in the run's for what Ray Train writes down of the processes."""


def train_on_ray(
    recipe: Recipe, data: Path, folder: Path, accelerator: str, devices: int, nodes: int, address: str
) -> None:
    """Train on a cluster; what users should know is printed by its first process.

    Args:
        recipe: the recipe.
        data: prepared data. Data, run and model are found under the same paths on all hosts.
        folder: folder of the run.
        accelerator: "auto", "cpu" or "cuda"; "auto" takes GPUs where the cluster has enough of them.
        devices: processes a host.
        nodes: hosts.
        address: of the cluster; see `joined`.

    Raises:
        ModelError, VolumeError: the cluster does not answer, or lacks what is asked for; or a reason of `launch`.
    """
    if accelerator not in ("auto", "cpu", "cuda", "gpu"):
        raise ModelError(f"A cluster does not train on {accelerator!r}. Choose --accelerator auto, cpu or cuda.")
    large_enough(find_samples(data, "train"), recipe.smallest_voxels)  # a reason to refuse is told before Ray is asked
    with alone_in(folder), joined(address) as ray:
        try:
            from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError  # noqa: PLC0415
            from ray.train.torch import TorchTrainer  # noqa: PLC0415 - the extra [ray]
        except ImportError as error:
            raise ModelError(MISSING) from error
        count = devices * nodes
        there = ray.cluster_resources()
        gpu = accelerator in ("cuda", "gpu") or (accelerator == "auto" and there.get("GPU", 0) >= count)
        kind = "GPU" if gpu else "CPU"
        if there.get(kind, 0) < count:
            raise ModelError(
                f"{count} processes need as many {kind}s, and the cluster at {address} has {there.get(kind, 0):.0f}. "
                "Choose fewer --devices or --nodes, or let more hosts join it."
            )
        trainer = TorchTrainer(
            _in_process,
            train_loop_config={
                "recipe": recipe,
                "data": data.resolve(),
                "folder": folder.resolve(),
                "accelerator": "cuda" if gpu else "cpu",
            },
            scaling_config=ScalingConfig(
                num_workers=count, use_gpu=gpu, placement_strategy="SPREAD" if nodes > 1 else "PACK"
            ),
            run_config=RunConfig(
                name=WORK,
                storage_path=str(folder.resolve()),
                failure_config=FailureConfig(max_failures=RESTARTS),
            ),
        )
        try:
            trainer.fit()
        except TrainingFailedError as error:
            raise _reason(error) from error


def _reason(error: Exception) -> SAMMed3DError:
    """Return why processes of the cluster failed: our own reason if one of them had one."""
    failures = list(getattr(error, "worker_failures", {}).values()) or [error]
    ours = [failure for failure in failures if isinstance(failure, SAMMed3DError)]
    return ours[0] if ours else ModelError(f"The cluster's processes failed; the same command goes on. {failures[0]}")


class _RayEnvironment(TorchElasticEnvironment):
    """Ray Train's processes, which know their places by the same variables as torchrun's."""

    def node_rank(self) -> int:
        return int(os.environ["NODE_RANK"])

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Accept hosts that have different numbers of processes."""


def _in_process(settings: dict[str, Any]) -> None:
    """Train in one process of the cluster, whose group of processes Ray has made."""
    logging.getLogger("lightning").setLevel(logging.WARNING)
    recipe, accelerator = settings["recipe"], settings["accelerator"]
    here, everywhere = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    fabric = Fabric(
        accelerator=accelerator,
        devices=here,
        num_nodes=-(-everywhere // here),
        strategy=several_processes() if everywhere > 1 else "auto",
        precision=precision_of(recipe, accelerator),  # type: ignore[arg-type]
        plugins=[_RayEnvironment()] if everywhere > 1 else [],
    )
    fabric.launch()
    train_in(fabric, recipe, settings["data"], settings["folder"], print)
