"""Objects found without clicks: counted in phantoms, and on a real CT."""

import functools
import json
import math
import tracemalloc

import numpy as np
import pytest
from scipy import ndimage
from typer.testing import CliRunner

from helpers import RegionPredictor, make_affine, write_image
from sammed3d import samples
from sammed3d.cli.app import app
from sammed3d.core.geometry import Grid
from sammed3d.core.mask import BoxedMask
from sammed3d.core.prompts import Click
from sammed3d.errors import ModelError, PredictionCancelled, PromptError, VolumeError
from sammed3d.files.volume import Volume
from sammed3d.inference.automatic import AutomaticMaskGenerator, AutomaticSettings, Instance
from sammed3d.inference.predictor import Cancellation, PatchPrompts
from sammed3d.inference.preset import Preset
from sammed3d.zoo import load_predictor

PRESET = Preset(spacing=(1.5, 1.5, 1.5), patch_shape=(64, 64, 64), low_res_shape=(32, 32, 32), normalisation="none")
CENTRES = [(30, 30, 30), (30, 90, 40), (90, 30, 90), (64, 64, 64), (95, 95, 35), (40, 70, 100)]
RADII = [4.7, 3.8, 3.1, 3.0, 4.5, 4.6]  # voxels of 1.5 mm


@functools.cache
def nodules(shape=(128, 128, 128)):
    """Spheres in air with a soft edge, and noise: intensities, and a label for each."""
    places = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    image = np.full(shape, 174.0)
    labels = np.zeros(shape, np.uint8)
    for n, (centre, radius) in enumerate(zip(CENTRES, RADII, strict=True), start=1):
        far = np.linalg.norm(places - centre, axis=-1)
        image += 900 / (1 + np.exp(2 * (far - radius)))
        labels[far <= radius] = n
    image += np.random.default_rng(0).normal(0, 20, shape)
    return Volume(image.astype(np.int16), Grid(shape, make_affine((1.5, 1.5, 1.5))), "nodules"), labels


class RegionsIn3d:
    """Stands in for a network: the connected bright region of each click, with an edge as soft as it is told."""

    name = "regions"
    preset = PRESET
    bright = 600

    def __init__(self, steepness=8.0):
        self.steepness = steepness
        self.asked = []
        self._regions = functools.cache(self._regions_of)
        self._answer = functools.cache(self._answer_of)

    def predict_each(self, patch, clicks, passes, cancellation):
        if cancellation is not None:
            cancellation.check()
        self.asked.append(len(clicks))
        return np.stack([self._answer(patch, self._label(patch, click)) for click in clicks])

    def _label(self, patch, click):
        return int(self._regions(patch)[tuple(int(v) // 2 for v in click.voxel)])

    def _regions_of(self, patch):
        coarse = patch.voxels.reshape(32, 2, 32, 2, 32, 2).mean(axis=(1, 3, 5))
        return ndimage.label(coarse > self.bright)[0]

    def _answer_of(self, patch, label):
        if label == 0:
            return np.full((32, 32, 32), -9.0, np.float32)
        inside = self._regions(patch) == label
        edge = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
        return (self.steepness * edge).astype(np.float32)


@pytest.mark.slow
def test_nodules_are_counted_once_wherever_patches_meet():
    """Patches of 96 mm on a volume of 192 mm: several nodules lie where patches overlap."""
    volume, labels = nodules()
    generator = AutomaticMaskGenerator(RegionsIn3d(), AutomaticSettings(distance=12, smallest=0.1))
    found = generator.generate(volume)
    assert len(found) == len(CENTRES)
    seen = set()
    for instance in found:
        mask = instance.mask.full(volume.grid.shape) > 0
        label = int(np.bincount(labels[mask]).argmax())
        seen.add(label)
        dice = 2 * (mask & (labels == label)).sum() / (mask.sum() + (labels == label).sum())
        assert dice > 0.75
        assert mask[tuple(np.rint(volume.grid.to_index(instance.click.world)).astype(int))]
        assert instance.volume_ml == pytest.approx(mask.sum() * 1.5**3 / 1000)
    assert seen == {1, 2, 3, 4, 5, 6}
    assert [i.stability for i in found] == sorted((i.stability for i in found), reverse=True)


class PairsIn3d(RegionsIn3d):
    """Takes a nodule and its neighbour for one object where it is asked in the one; in the other it knows better."""

    def _regions_of(self, patch):
        coarse = patch.voxels.reshape(32, 2, 32, 2, 32, 2).mean(axis=(1, 3, 5))
        both = coarse > 600
        first = both & (np.arange(32) < 16)[:, None, None]
        return np.where(first, 1, np.where(both, 2, 0))

    def _answer_of(self, patch, label):
        inside = self._regions(patch) == label if label < 2 else self._regions(patch) > 0
        edge = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
        return (self.steepness * edge).astype(np.float32) if label else super()._answer_of(patch, label)


def touching(shape=(64, 64, 64)):
    """Two balls that touch, as a volume."""
    places = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    image = np.random.default_rng(0).normal(100, 5, shape)
    for centre, radius in (((24, 32, 32), 8), ((41, 32, 32), 9)):
        image[np.linalg.norm(places - centre, axis=-1) < radius] = 1000
    return Volume(image.astype(np.int16), Grid(shape, make_affine((1.5, 1.5, 1.5))), "two")


def test_an_object_that_is_also_a_part_of_another_answer_is_found_once():
    found = AutomaticMaskGenerator(PairsIn3d(), AutomaticSettings(distance=24, batch=64)).generate(touching())
    assert len(found) == 2
    one, other = (each.mask.full((64, 64, 64)) for each in found)
    assert (one & other).sum() < 0.1 * min(one.sum(), other.sum())


def test_progress_counts_points_of_the_grid_alone():
    """Of a region with fewer points than blobs too."""
    told, volume = [], touching()
    noise = np.random.default_rng(1).integers(0, 2, (64, 64, 64)) * 400
    dotted = Volume((volume.array + noise).astype(np.int16), volume.grid, "dots")
    settings = AutomaticSettings(distance=60, batch=4, smallest=0, contrast=1e9)
    AutomaticMaskGenerator(RegionsIn3d(), settings).generate(dotted, None, lambda *numbers: told.append(numbers))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert 0 <= told[0][0] < told[-1][0] == told[-1][1]


def test_a_fine_grid_takes_memory_for_its_points_in_the_region_alone():
    """Of 1.4 million points of a grid of 3 mm, 64 are asked about."""
    shape = (60, 60, 400)
    array, region = np.full(shape, 100, np.int16), np.zeros(shape, np.uint8)
    array[20:24, 20:24, 200:204], region[20:24, 20:24, 200:204] = 1000, 1
    volume = Volume(array, Grid(shape, make_affine((3, 3, 3))), "long")
    generator = AutomaticMaskGenerator(RegionsIn3d(), AutomaticSettings(distance=3, blobs=0, smallest=0))
    points, peaks = [], []

    def progress(_done, total):
        points.append(total)
        peaks.append(tracemalloc.get_traced_memory()[1])

    tracemalloc.start()
    try:
        generator.generate(volume, region, progress)
    finally:
        tracemalloc.stop()
    assert points[0] == 64
    assert peaks[0] < 60e6


@pytest.mark.parametrize("slices", [1, 2, 3])
def test_a_volume_of_few_slices_can_be_searched(slices):
    whole = touching()
    thin = np.ascontiguousarray(whole.array[:, :, 31 : 31 + slices])
    volume = Volume(thin, Grid(thin.shape, whole.grid.index_to_world), "thin")
    predictor = RegionsIn3d()
    predictor.bright = 200  # its voxels are two slices thick
    assert AutomaticMaskGenerator(predictor, AutomaticSettings(smallest=0)).generate(volume)


@pytest.mark.slow
def test_an_object_larger_than_a_patch_is_one_object():
    shape = (48, 48, 160)
    array = np.full(shape, 100, np.int16)
    array[16:30, 18:32, 6:154] = 1000
    volume = Volume(array, Grid(shape, make_affine((1.5, 1.5, 1.5))), "rod")
    [rod] = AutomaticMaskGenerator(RegionsIn3d(), AutomaticSettings(distance=9)).generate(volume)
    mask = rod.mask.full(shape) > 0
    assert 2 * (mask & (array > 500)).sum() / (mask.sum() + (array > 500).sum()) > 0.9
    assert np.flatnonzero(mask[22, 24]).tolist() == list(range(6, 154))


@pytest.mark.slow
def test_what_is_unstable_too_small_or_too_large_is_left_out():
    volume, labels = nodules()

    def count(steepness=8.0, **settings):
        settings = AutomaticSettings(**({"distance": 3, "smallest": 0.1, "blobs": 0} | settings))
        return len(AutomaticMaskGenerator(RegionsIn3d(steepness), settings).generate(volume, labels))

    assert count(steepness=0.1) == 0
    assert count(steepness=0.1, stability=0.0) == 6
    sizes = sorted(4 / 3 * np.pi * (r * 1.5) ** 3 / 1000 for r in RADII)
    assert count(smallest=(sizes[1] + sizes[2]) / 2) == 4
    assert count(largest=(sizes[1] + sizes[2]) / 2) == 2


@pytest.mark.slow
def test_the_end_of_an_object_that_is_too_large_is_left_out_too():
    """The last of the patches sees the end of the rod only, which is small enough."""
    shape = (48, 48, 160)
    array = np.full(shape, 100, np.int16)
    array[16:30, 18:32, 40:118] = 1000
    volume = Volume(array, Grid(shape, make_affine((1.5, 1.5, 1.5))), "rod")

    def found(largest):
        settings = AutomaticSettings(distance=6, largest=largest)
        return AutomaticMaskGenerator(RegionsIn3d(), settings).generate(volume, array > 500)

    assert found(largest=15.0) == []
    assert len(found(largest=60.0)) == 1


@pytest.mark.slow
def test_points_are_set_in_the_region_only_and_covered_ones_not_asked_again():
    volume, labels = nodules()
    predictor = RegionsIn3d()
    progress = []
    generator = AutomaticMaskGenerator(predictor, AutomaticSettings(distance=3, smallest=0.1, batch=4))
    found = generator.generate(volume, labels == 1, lambda *numbers: progress.append(numbers))
    assert len(found) == 1
    points = progress[-1][1]
    assert progress[-1][0] == points > 20
    assert sum(predictor.asked) < points / 2
    with pytest.raises(VolumeError, match="region's shape"):
        generator.generate(volume, labels[:-1])
    with pytest.raises(VolumeError, match="No point of the grid"):
        generator.generate(volume, np.zeros_like(labels))


@pytest.mark.slow
def test_a_search_can_be_stopped():
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(PredictionCancelled):
        AutomaticMaskGenerator(RegionsIn3d()).generate(nodules()[0], cancellation=cancellation)


@pytest.mark.slow
def test_a_search_that_is_stopped_keeps_what_it_found():
    cancellation = Cancellation()

    class Stopping(RegionsIn3d):
        def predict_each(self, *arguments):
            if len(self.asked) == 3:
                cancellation.cancel()
            return super().predict_each(*arguments)

    volume, labels = nodules()
    generator = AutomaticMaskGenerator(Stopping(), AutomaticSettings(distance=3, batch=4))
    found = generator.generate(volume, labels, cancellation=cancellation, keep=True)
    assert 0 < len(found) < len(CENTRES)


def test_overlapping_objects_are_written_into_a_label_map(tmp_path, monkeypatch, terminated):
    """Each voxel to the more stable object, with a word; a stopped search ends with its exit code and its file."""
    volume, _ = nodules((64, 64, 64))
    image = write_image(tmp_path / "ct.nii.gz", volume.array, volume.grid.index_to_world)

    def blocks(self, volume, region, progress, cancellation, keep):
        assert keep
        terminated.now()
        assert cancellation.is_cancelled
        masks = [np.zeros(volume.grid.shape, np.uint8) for _ in range(2)]
        masks[0][10:30, 10:30, 10:30] = masks[1][20:40, 20:40, 20:40] = 1
        return [Instance(BoxedMask.of(mask), Click((0.0, 0.0, 0.0)), 0.9, 1.0) for mask in masks]

    monkeypatch.setattr(AutomaticMaskGenerator, "generate", blocks)
    result = CliRunner().invoke(app, ["find", str(image), "-o", str(tmp_path / "found.nii.gz"), "--device", "cpu"])
    assert result.exit_code == terminated.exit_code, result.output
    assert "Objects overlap in 1000 voxels" in " ".join(result.output.split())
    assert "holds what was found so far" in " ".join(result.output.split())
    written = Volume.read(tmp_path / "found.nii.gz").array
    assert (written == 1).sum() == 8000
    assert (written == 2).sum() == 7000
    again = CliRunner().invoke(app, ["find", str(image), "-o", str(image), "--device", "cpu", "--force"])
    assert again.exit_code == 1
    assert "would be lost" in again.output


@pytest.mark.parametrize(
    "settings",
    [
        *(
            {"distance": 0},
            {"offset": -1},
            {"batch": 0},
            {"passes": 0},
            {"stability": 2},
            {"overlap": 1},
            {"largest": 0.01},
        ),
        *({name: math.nan} for name in ("distance", "offset", "stability", "smallest", "largest", "contrast")),
        {"distance": math.inf},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(PromptError):
        AutomaticSettings(**settings)


def test_models_that_work_slice_by_slice_are_refused():
    with pytest.raises(ModelError, match="slice by slice"):
        AutomaticMaskGenerator(RegionPredictor())


@pytest.mark.slow
def test_the_default_model_counts_nodules_from_the_command_line(tmp_path):
    volume, labels = nodules()
    image = write_image(tmp_path / "ct.nii.gz", volume.array, volume.grid.index_to_world)
    region = write_image(tmp_path / "region.nii.gz", (volume.array > 574).astype(np.uint8), volume.grid.index_to_world)
    options = ["--region", region, "--distance", "9", "--smallest", "0.15", "--largest", "30", "--device", "cpu"]
    arguments = ["find", image, "-o", tmp_path / "found.seg.nrrd", "--json", *options]
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    where = [tuple(np.rint(np.array(o["click"]) / 1.5).astype(int)) for o in report["objects"]]
    hits = [int(ndimage.grey_dilation(labels, 3)[place]) for place in where]
    assert 0 not in hits, "nothing but nodules"
    assert len(set(hits)) >= 5
    assert len(hits) == len(set(hits)) == report["found"], "each of them once"


@pytest.mark.slow
def test_many_clicks_at_once_are_answered_as_each_alone(tiny_checkpoint):
    from sammed3d.inference.lattice import Lattice
    from sammed3d.inference.patch import cut_patch
    from sammed3d.inference.predictor import PatchClick

    predictor = load_predictor(tiny_checkpoint, "cpu")
    volume = nodules()[0]
    lattice = Lattice(volume.grid, predictor.preset.spacing)
    patch = cut_patch(volume, lattice, lattice.window_at((90, 90, 90), (64, 64, 64)), predictor.preset)
    clicks = [PatchClick((10.0 * n, 20.0, 30.0), n % 2 == 0) for n in range(5)]
    together = predictor.predict_each(patch, clicks)
    twice = predictor.predict_each(patch, clicks, 2)
    for click, answer, second in zip(clicks, together, twice, strict=True):
        alone = predictor.predict(patch, PatchPrompts([click])).low_res
        assert np.abs(answer - alone).max() < 1e-4
        assert np.abs(second - predictor.predict(patch, PatchPrompts([click], mask_prompt=alone)).low_res).max() < 1e-4


@pytest.mark.slow
def test_an_organ_of_a_real_ct_is_found():
    ct = Volume.read(samples.CT_ABDOMEN)
    labels = Volume.read(samples.CT_ABDOMEN_LABELS).array
    names = json.loads((samples.FOLDER / "ct_abdomen_labels.json").read_text())
    [number] = [int(n) for n, name in names.items() if name == "gallbladder"]
    organ = labels == number
    around = ndimage.binary_dilation(organ, iterations=2)
    settings = AutomaticSettings(distance=20, smallest=5, blobs=8)
    generator = AutomaticMaskGenerator(load_predictor("default", "cpu"), settings)
    masks = [i.mask.full(ct.grid.shape) > 0 for i in generator.generate(ct, around)]
    assert max(2 * (m & organ).sum() / (m.sum() + organ.sum()) for m in masks) > 0.5
