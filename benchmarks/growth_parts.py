"""The measurements of `growth.py`, each of which runs in a process of its own."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import torchio
from common import filled_network, forget_peak, peak_mib
from torch.nn.functional import interpolate

import sammed3d
from sammed3d.core.geometry import Grid
from sammed3d.files.volume import Volume
from sammed3d.inference.predictor import Predictor
from sammed3d.inference.preset import Preset
from sammed3d.inference.session import Session
from sammed3d.nets import SamMed3d, Slicewise
from sammed3d.nets.literal import make_literal
from sammed3d.nets.sam_med2d import SamMed2d
from sammed3d.nets.slicewise import PIXEL_MEAN, PIXEL_STD
from sammed3d.predictors import products
from sammed3d.predictors.torch_predictor import TorchPredictor
from sammed3d.training.images import LabelMap, ScalarImage
from sammed3d.zoo.families import SAM_MED2D

LITERAL = " literal"
"""Ends the name of a model whose network is the published long form."""
BRIGHT = 300
"""Intensities of the ball are above it."""


def predictor_of(model: str) -> Predictor:
    """Load the default model, or build another one with generated weights."""
    if model == "default":
        return sammed3d.load_predictor(model, device="cpu")
    network = filled_network(model.removesuffix(LITERAL))
    if model.endswith(LITERAL):
        make_literal(network)
    else:
        products.pack(network)
    if isinstance(network, SamMed2d):
        return TorchPredictor(Slicewise(network), SAM_MED2D, model, device="cpu")
    return TorchPredictor(network, Preset(), model, device="cpu")


def session_on(volume: Volume, predictor: Predictor) -> Session:
    """Begin an object; for a 2-D model from the ball, so that a click is one slice and not dozens."""
    session = Session(volume, predictor)
    if predictor.preset.by_slice:
        session.start_from(volume.array > BRIGHT)
    return session


def ball_in_noise(edge: int) -> Volume:
    """A ball in the middle of a cube of 1 mm voxels, int16; its diameter is a quarter of the edge, 64 mm at most.

    In memory it lies as files do, K slowest: in another order a patch is copied across it.
    """
    array = np.random.default_rng(edge).integers(0, 60, (edge, edge, edge), dtype=np.int16).T
    radius = min(edge // 8, 32)
    part = array[tuple(slice(edge // 2 - radius, edge // 2 + radius) for _ in range(3))]
    squared = sum((axis - radius + 0.5) ** 2 for axis in np.ogrid[tuple(slice(2 * radius) for _ in range(3))])
    part[squared < radius**2] += 600
    return Volume(array, Grid(array.shape, np.eye(4)), f"{edge} voxels")


def spent(action: Callable[[], object]) -> float:
    """Return the seconds of the processor that an action takes."""
    begin = time.process_time()
    action()
    return time.process_time() - begin


def around(volume: Volume, count: int) -> list[tuple[tuple[float, float, float], bool]]:
    """Clicks that all go to one patch: the middle of the ball, then in turn one beside it and one inside."""
    edge = volume.grid.shape[0]
    apart = np.stack(np.meshgrid(*[np.arange(-2.5, 3)] * 3), axis=-1).reshape(-1, 3) * edge / 42
    inside = np.random.default_rng(1).permutation(apart)[:count]
    inside[0] = 0
    beside = np.array([min(edge // 8, 32) + 6.0, 0, 0])
    offsets = [place if n % 2 == 0 else place / 2 + beside for n, place in enumerate(inside)]
    return [(tuple((edge / 2 + offset).tolist()), n % 2 == 0) for n, offset in enumerate(offsets)]


def against_volume(model: str, edge: int) -> list[dict[str, float]]:
    """Measure a first click, further ones (the median of three), and the peak of the process without the volume."""
    predictor = predictor_of(model)
    session_on(ball_in_noise(32), predictor).click((16.0, 16.0, 16.0))  # what torch does at its first use
    volume = ball_in_noise(edge)
    session, places = session_on(volume, predictor), around(volume, 4)
    forget_peak()
    first = spent(lambda: session.click(*places[0]))
    further = [spent(lambda p=place: session.click(*p)) for place in places[1:]]
    beside = peak_mib() - volume.array.nbytes / 2**20
    return [{"edge": edge, "first": first, "further": statistics.median(further), "mib": beside}]


def against_published(model: str, edge: int) -> list[dict[str, float]]:
    """Measure a first click as the published code makes it, and the peak of the process without the volume."""
    network, volume = filled_network(model.removesuffix(LITERAL)), ball_in_noise(edge)
    make_literal(network)
    click = slice_as_published if isinstance(network, SamMed2d) else patch_as_published
    forget_peak()
    with torch.inference_mode():
        prepared, first = click(network, volume.array)
    return [{"edge": edge, "prepared": prepared, "first": first, "mib": peak_mib() - volume.array.nbytes / 2**20}]


def patch_as_published(network: SamMed3d, array: np.ndarray) -> tuple[float, float]:
    """Click in the middle as SAM-Med3D's and FastSAM3D's code does: seconds of preparing the volume, and in all."""
    label = np.zeros((1, *array.shape), np.uint8)
    label[(0, *(slice(n // 2 - 2, n // 2 + 2) for n in array.shape))] = 1  # round which the published code cuts
    pipeline = torchio.Compose(
        [
            torchio.Resample(Preset().spacing),
            torchio.ToCanonical(),
            torchio.CropOrPad(mask_name="label", target_shape=Preset().patch_shape),
            torchio.ZNormalization(masking_method=lambda voxels: voxels > 0),
        ]
    )
    begin = time.process_time()
    image = ScalarImage(tensor=torch.from_numpy(array[None].astype(np.float32)), affine=np.eye(4))
    patch = pipeline(torchio.Subject(image=image, label=LabelMap(tensor=torch.from_numpy(label), affine=np.eye(4))))
    prepared = time.process_time() - begin
    embedding = network.encode(patch.image.data[None])
    network.decode(embedding, torch.full((1, 1, 3), 64.0), torch.ones(1, 1), torch.zeros(1, 1, 32, 32, 32))
    return prepared, time.process_time() - begin


def slice_as_published(network: SamMed2d, array: np.ndarray) -> tuple[float, float]:
    """Click in the middle of the middle slice as SAM-Med2D's code does: seconds of preparing the slice, and in all."""
    size = 2 * [network.config.image_size]
    begin = time.process_time()
    grey = array[:, :, array.shape[2] // 2].astype(np.float64)
    grey = (255 * (grey - grey.min()) / np.ptp(grey)).astype(np.uint8)
    coloured = (np.stack(3 * [grey], axis=-1) - PIXEL_MEAN) / PIXEL_STD
    image = interpolate(torch.from_numpy(coloured).permute(2, 0, 1)[None], size, mode="nearest").float()
    prepared = time.process_time() - begin
    logits, scores = network.decode(network.encode(image), torch.full((1, 1, 2), 128.0), torch.ones(1, 1), None)
    whole = interpolate(
        interpolate(logits[:, [int(scores.argmax())]], size, mode="bilinear"), grey.shape, mode="bilinear"
    )
    (whole.sigmoid() > 0.5).numpy()
    return prepared, time.process_time() - begin


def against_clicks(model: str, count: int) -> list[dict[str, float]]:
    """Measure each of many clicks on one object in one patch."""
    volume, rows = ball_in_noise(128), []
    session = session_on(volume, predictor_of(model))
    for n, place in enumerate(around(volume, count), start=1):
        forget_peak()
        before = peak_mib()
        seconds = spent(lambda p=place: session.click(*p))
        rows.append({"click": n, "further": seconds, "mib": before, "peak": peak_mib()})
    return rows


def against_objects(model: str, count: int) -> list[dict[str, float]]:
    """Measure the first click and an undo of each of several objects on one patch."""
    volume, rows = ball_in_noise(128), []
    predictor = predictor_of(model)
    session = Session(volume, predictor)
    for n, (place, _) in enumerate(around(volume, 2 * count)[::2], start=1):
        session.add_object(f"object {n}")
        if predictor.preset.by_slice:
            session.start_from(volume.array > BRIGHT)
        first = spent(lambda p=place: session.click(p))
        rows.append({"objects": n, "first": first, "undo": spent(session.undo), "mib": peak_mib()})
        session.redo()
    return rows


def against_cores(model: str, repeats: int) -> list[dict[str, float]]:
    """Measure clicks by the clock with the threads that this process was given."""
    volume, predictor, first, further = ball_in_noise(128), predictor_of(model), [], []
    for n in range(repeats):
        array = volume.array.copy()
        array[0, 0] = 100 + n  # another patch, or slice, whose embedding nobody knows
        session = session_on(Volume(array, volume.grid, "cores"), predictor)
        for times, place in zip((first, further), around(volume, 3)[::2], strict=True):
            begin = time.perf_counter()
            session.click(place[0])
            times.append(time.perf_counter() - begin)
    return [{"threads": int(os.environ["OMP_NUM_THREADS"]), "first": min(first), "further": min(further)}]


def against_clients(model: str, numbers: list[int]) -> list[dict[str, float]]:
    """Measure clicks a second of the default model with several clients of a server, beside one process alone."""
    from server import loads  # which needs the extra [serve]

    return list(loads(numbers))


PARTS = {
    "volume": against_volume,
    "published": against_published,
    "clicks": against_clicks,
    "objects": against_objects,
    "cores": against_cores,
    "clients": against_clients,
}
