"""Runs of the recipe on tiny networks."""

import csv

from lightning.fabric import Fabric

from networks import TINY_SIZES
from sammed3d.training import prepared
from sammed3d.training.contract import model_to_train
from sammed3d.training.prepared import Preparation
from sammed3d.training.recipe import Recipe
from sammed3d.training.run import BEST, Run
from sammed3d.zoo.checkpoint import read_checkpoint

SHAPE = (30, 34, 28)
TINY = {
    "network": "sam_med3d",
    "sizes": TINY_SIZES,
    "epochs": 2,
    "batch_size": 2,
    "accumulation": 1,
    "lr": 3e-3,
    "prompt_encoder_lr": 1.0,
    "mask_decoder_lr": 1.0,
    "clicks": 4,
    "workers": 0,
    "smallest_voxels": 10,
    "normalisation": "sample",
    "validate_every": 1,
    "validation_clicks": 2,
    "precision": "32-true",
    "save_every": 1,
}


def recipe(**changes):
    return Recipe.read(None, **(TINY | changes))


def run_of(data, folder, settings, *plugins, **options):
    fabric = Fabric(accelerator="cpu", devices=1, plugins=list(plugins))
    fabric.launch()
    samples = prepared.find_samples(data / "ready", "train")
    model = model_to_train(settings, Preparation.read(data / "ready"), {"ct_test"})
    validation = prepared.find_samples(data / "ready", "validation")
    return Run(settings, model, samples, validation, folder, fabric, **options)


def weights_of(folder, file=BEST):
    return read_checkpoint(folder / file).weights


def log_of(folder):
    return list(csv.DictReader((folder / "log.csv").open()))
