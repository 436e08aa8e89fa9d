"""What a model was trained with is what it carries: the patch in use is the patch of training, voxel by voxel."""

import json

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from typer.testing import CliRunner

from helpers import make_affine, phantom, write_image
from networks import TINY_2D, TINY_PRESET_2D, TINY_SIZES, filled
from sammed3d import load_model, load_predictor
from sammed3d.cli.app import app
from sammed3d.errors import ModelError, VolumeError
from sammed3d.files.datasets import find_cases
from sammed3d.files.volume import Volume
from sammed3d.inference.lattice import Lattice
from sammed3d.inference.preset import Preset
from sammed3d.inference.session import Session
from sammed3d.nets import build
from sammed3d.training import prepared
from sammed3d.training.contract import model_to_train, preparation_for
from sammed3d.training.launch import large_enough
from sammed3d.training.patches import Patches
from sammed3d.training.recipe import Recipe
from sammed3d.training.run import BEST, Run
from sammed3d.zoo.checkpoint import read_checkpoint, write_checkpoint
from sammed3d.zoo.families import CT_LIDC, FAMILIES

SHAPE = (61, 58, 43)
AFFINE = make_affine((-1.2, 1.3, 1.7), origin=(30, -40, 7))
SMALL = {
    "encoder": {"image_size": 64, "width": 24, "depth": 3, "heads": 2, "out_channels": 48},
    "decoder_mlp": 64,
}
QUICK = {
    "epochs": 1,
    "batch_size": 1,
    "accumulation": 1,
    "lr": 1e-3,
    "clicks": 2,
    "workers": 0,
    "smallest_voxels": 10,
    "validate_every": 1,
    "precision": "32-true",
}
VOLUMES = [name for name, family in FAMILIES.items() if not family.preset.by_slice]
SLICES = [name for name, family in FAMILIES.items() if family.preset.by_slice]


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Two CT-like cases in LPS order with a structure in the middle, whose window is that of a click on it."""
    folder = tmp_path_factory.mktemp("raw")
    for n in range(2):
        image = np.interp(phantom(SHAPE, n), (20, phantom(SHAPE, n).max()), (-1200, 900))  # clamped by every window
        labels = np.zeros(SHAPE, np.uint8)
        labels[20:-20, 18:-18, 12:-12] = 1
        case = folder / f"case{n}"
        case.mkdir()
        write_image(case / "image.nii.gz", image.astype(np.int16), AFFINE)
        write_image(case / "label.nii.gz", labels, AFFINE)
    return folder


@pytest.fixture(scope="module")
def data(raw, tmp_path_factory):
    """Prepare the cases, once for each spacing and range: a function."""
    known = {}

    def ready(spacing=1.5, clamp=None):
        if (spacing, clamp) not in known:
            folder = tmp_path_factory.mktemp("ready")
            prepared.prepare(find_cases(raw), folder, "ct_test", spacing=spacing, clamp=clamp, validation=0)
            known[spacing, clamp] = folder
        return known[spacing, clamp]

    return ready


def trained(folder, data, **changes):
    """Train two steps; returns the run."""
    recipe = Recipe.read(None, **(QUICK | changes))
    samples = prepared.find_samples(data, "train")
    model = model_to_train(recipe, prepared.Preparation.read(data), {sample.dataset for sample in samples})
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    run = Run(recipe, model, samples, [], folder, fabric)
    run.train()
    assert run.steps == 2
    return run


class Recorder:
    """A predictor, and the patches that it is shown."""

    def __init__(self, predictor):
        self._predictor, self.patches = predictor, []

    def __getattr__(self, name):
        return getattr(self._predictor, name)

    def predict(self, patch, *arguments, **options):
        self.patches.append(patch)
        return self._predictor.predict(patch, *arguments, **options)


def assert_used_as_trained(run, raw):
    """Load by path without hints and click: the session's patch is that of training."""
    predictor = load_predictor(run.folder / BEST, "cpu")
    assert predictor.preset == run.preset
    sample = run.patches.samples[0]
    item = Patches([sample], run.preset, run.recipe, augment=False)[0, 1]
    volume = Volume.read(raw / "case0" / "image.nii.gz")
    lattice = Lattice(volume.grid, predictor.preset.spacing)
    box = lattice.box_of(Volume.read(raw / "case0" / "label.nii.gz").array)
    recorder = Recorder(predictor)
    middle = [(a + b) // 2 for a, b in zip(box.begin, box.end, strict=True)]
    Session(volume, recorder).click(lattice.grid.to_world(middle).tolist())
    patch = recorder.patches[-1]  # of some models after the wide one round a first click
    assert patch.window == lattice.window_around(box, predictor.preset.patch_shape), "the same place"
    assert patch.voxels.shape == tuple(item["image"].shape[1:])
    assert np.ptp(patch.voxels) > 0.5
    assert np.abs(patch.voxels - item["image"][0].numpy()).max() < 2e-5


def small_start(path, family):
    """A small network of a family, in a file that says neither network nor family."""
    chosen = FAMILIES[family]
    state = filled(build(chosen.network, SMALL)).state_dict()
    shape = (16, 64, 64) if chosen.network == "sam_med3d_32_slices" else (64, 64, 64)
    preset = chosen.preset.to_json() | {"patch_shape": shape, "low_res_shape": (16, 16, 16)}
    write_checkpoint(path, state, sizes=SMALL, preset=preset)
    return path


@pytest.mark.parametrize("family", VOLUMES)
@pytest.mark.slow
def test_every_family_is_used_as_it_was_trained(family, data, raw, tmp_path):
    start = small_start(tmp_path / "start.safetensors", family)
    ready = data(*preparation_for(str(start), family))
    run = trained(tmp_path / "run", ready, start=str(start), family=family)
    found = load_model(tmp_path / "run" / BEST)
    assert found.network_name == FAMILIES[family].network, "a network's name, not a family's"
    assert found.preset.clamp == FAMILIES[family].preset.clamp
    before, after = read_checkpoint(start).weights, read_checkpoint(tmp_path / "run" / BEST).weights
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[key], after[key]) for key in before)
    assert_used_as_trained(run, raw)


@pytest.mark.parametrize("family", SLICES)
def test_families_that_work_slice_by_slice_are_not_trained(family, data, tmp_path):
    network = FAMILIES[family].network
    state = filled(build(network, TINY_2D)).state_dict()
    write_checkpoint(tmp_path / "m.safetensors", state, sizes=TINY_2D, preset=TINY_PRESET_2D.to_json())
    recipe = Recipe.read(None, **QUICK, start=str(tmp_path / "m.safetensors"), family=family)
    with pytest.raises(ModelError, match="training is for 3-D models"):
        model_to_train(recipe, prepared.Preparation.read(data()), {"ct_test"})


@pytest.mark.parametrize("start", [False, True], ids=["untrained", "from SAM-Med3D"])
def test_a_window_for_ct_becomes_part_of_the_model(start, data, raw, tmp_path):
    wish = {"network": "sam_med3d", "sizes": TINY_SIZES}
    if start:
        wish = {"start": str(small_start(tmp_path / "start.safetensors", "sam_med3d")), "family": "sam_med3d"}
    run = trained(tmp_path / "run", data(), ct_window=[-160, 240], **wish)
    assert (run.preset.clamp, run.preset.clamp_after) == ((-160, 240), True)
    assert_used_as_trained(run, raw)


@pytest.mark.slow
def test_the_spacing_of_the_data_becomes_part_of_the_model(data, raw, tmp_path):
    run = trained(tmp_path / "run", data(1.0), network="sam_med3d", sizes=TINY_SIZES)
    assert run.preset.spacing == (1, 1, 1)
    assert_used_as_trained(run, raw)
    run = trained(tmp_path / "clamped", data(1.0, CT_LIDC.clamp), network="promptable_unet", sizes={"patch_size": 64})
    assert (run.preset.clamp, run.preset.clamp_after) == (CT_LIDC.clamp, False)
    assert_used_as_trained(run, raw)


@pytest.mark.slow
def test_data_that_were_prepared_for_another_model_are_refused(data, tmp_path):
    start = str(small_start(tmp_path / "start.safetensors", "ct_lidc"))

    def begin(folder, datasets=("ct_test",), **changes):
        recipe = Recipe.read(None, **(QUICK | {"start": start, "family": "ct_lidc"} | changes))
        return model_to_train(recipe, prepared.Preparation.read(folder), datasets)

    with pytest.raises(ModelError, match=r"at 1\.5 mm, unclamped, and start.safetensors needs .* at 1 mm, clamped"):
        begin(data())
    with pytest.raises(ModelError, match="--model MODEL"):
        begin(data(1.0))
    right = data(1.0, CT_LIDC.clamp)
    assert begin(right).preset.rescale
    with pytest.raises(ModelError, match=r"clamped to -1024\.\.300 already"):
        begin(right, ct_window=[-160, 240])
    fresh = {"start": None, "family": None, "network": "sam_med3d", "sizes": TINY_SIZES, "ct_window": [-160, 240]}
    with pytest.raises(ModelError, match="hold mr_brain too"):
        begin(data(), ("ct_test", "mr_brain"), **fresh)
    with pytest.raises(VolumeError, match=r"holds data at 1\.5 mm"):
        prepared.prepare([], data(), "ct_more", spacing=1.0)
    weights = trained(tmp_path / "run", data(), **(fresh | {"ct_window": None})).folder / BEST
    with pytest.raises(ModelError, match="says of itself that its network is sam_med3d"):
        load_model(weights, "fastsam3d_teacher")


@pytest.mark.slow
def test_a_run_from_a_family_is_imported_and_says_where_it_comes_from(data, tmp_path, monkeypatch):
    monkeypatch.setenv("SAMMED3D_MODELS", str(tmp_path / "models"))
    start = small_start(tmp_path / "nodules.safetensors", "ct_lidc")
    done = CliRunner().invoke(
        app, ["models", "import", str(start), "--name", "nodules", "--family", "ct_lidc", "--licence", "MIT"]
    )
    assert done.exit_code == 0, done.output
    ready = tmp_path / "ready"
    raw = data(1.0, CT_LIDC.clamp)  # prepared by hand; the command takes what the model needs
    done = CliRunner().invoke(
        app, ["data", "prepare", str(raw), str(ready), "--name", "ct_again", "--model", "nodules", "--validation", "0"]
    )
    assert done.exit_code == 0, done.output
    about = prepared.Preparation.read(ready)
    assert (about.spacing, about.clamp) == (1.0, CT_LIDC.clamp)
    trained(tmp_path / "mine", ready, start="nodules")
    assert CliRunner().invoke(app, ["models", "import", str(tmp_path / "mine")]).exit_code == 0
    model = load_model("mine")
    assert model.network_name == "sam_med3d"
    assert "imported from nodules.safetensors, then trained: 1 epochs, 2 steps" in model.origin
    assert "MIT" in model.licence
    again = tmp_path / "again.safetensors"
    assert CliRunner().invoke(app, ["models", "export", "mine", str(again)]).exit_code == 0
    copy = load_model(again)
    assert copy.about() == model.about(), "everything travels"
    assert json.loads(read_checkpoint(again).metadata["preset"])["clamp"] == [-1024, 300]


@pytest.mark.slow
def test_normalisation_by_the_batch_is_said(data, tmp_path):
    run = trained(
        tmp_path / "run", data(), network="sam_med3d", sizes=TINY_SIZES, normalisation="batch", batch_size=2, epochs=2
    )
    assert "pooled over batches of 2" in load_model(run.folder / BEST).notes[-1]


def test_structures_that_are_too_small_are_left_out_and_said(data, tmp_path):
    samples = prepared.find_samples(data(), "train")
    assert all(sample.voxels > 100 for sample in samples)
    kept, lines = large_enough(samples, samples[0].voxels - 1)
    assert len(kept) == 2
    assert lines == []
    with pytest.raises(VolumeError, match=r"Nothing is left to train on\. 2 of 2 structures .*label_1 \(2\)"):
        large_enough(samples, 10**6)
    other = [prepared.Sample("c", "hippocampus", "mr_x", tmp_path, tmp_path, 300), *samples]
    assert large_enough(other, 1000)[1][0].endswith("(smallest_voxels): hippocampus (1).")


def test_a_preset_is_what_it_was_before_clamping_moved():
    assert Preset.from_json({"clamp": [-5, 5]}) == Preset(clamp=(-5, 5), clamp_after=False)
