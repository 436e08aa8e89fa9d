"""Files of the family that are not whole, not cubic, or not ours: completed, run, or refused by name."""

from dataclasses import asdict

import numpy as np
import pytest
import torch

from helpers import small_volume
from networks import filled
from sammed3d.errors import AmbiguousFamilyError, CheckpointError, ModelError
from sammed3d.inference.preset import Preset
from sammed3d.inference.session import Session
from sammed3d.nets import CONFIGS, build
from sammed3d.zoo import load_predictor
from sammed3d.zoo.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from sammed3d.zoo.families import FAMILIES, recognise, tell
from sammed3d.zoo.load import family_of, load_model

SIZES = {"encoder": {"width": 24, "depth": 3, "heads": 2, "out_channels": 48, "mlp_only_blocks": 1}, "decoder_mlp": 64}
RESIDUAL = {"normalised_residual": True}
WHOLE = {"encoder": {**SIZES["encoder"], "mlp_only_blocks": 0}, "decoder_mlp": 64}


@pytest.fixture
def files(tmp_path):
    """A distilled encoder alone, with bare keys, and the 12-layer checkpoint that it came from, both small."""
    student = filled(build("fastsam3d", SIZES)).state_dict()
    encoder = {k.removeprefix("image_encoder."): v for k, v in student.items() if k.startswith("image_encoder.")}
    torch.save({"model_state_dict": encoder}, tmp_path / "tiny.pth")
    teacher = {k: v + 0.01 for k, v in filled(build("fastsam3d_teacher", WHOLE)).state_dict().items()}
    torch.save({"model_state_dict": teacher}, tmp_path / "teacher.pth")
    return tmp_path / "tiny.pth", tmp_path / "teacher.pth", student, teacher


def test_an_encoder_alone_is_completed_by_its_base(files, monkeypatch):
    tiny, base, student, teacher = files
    with pytest.raises(CheckpointError, match=r"tiny\.pth: holds an image encoder alone.*--base"):
        load_predictor(tiny, "cpu", family="fastsam3d")
    from sammed3d.zoo.adapters.fastsam3d_encoder import with_decoder

    whole = with_decoder(read_checkpoint(tiny), read_checkpoint(base))
    assert whole.weights.keys() == student.keys()
    for key, value in whole.weights.items():
        assert torch.equal(value, (student if key.startswith("image_encoder.") else teacher)[key])
    assert whole.notes == ("prompt encoder and mask decoder are those of teacher.pth",)
    with pytest.raises(CheckpointError, match=r"tiny\.pth: holds no prompt encoder and mask decoder"):
        load_predictor(tiny, "cpu", base=tiny)
    assert family_of(tiny) is None, "its base has to tell"


def test_a_whole_model_needs_no_base(files, tiny_checkpoint):
    with pytest.raises(ModelError, match="is a whole model"):
        load_predictor(tiny_checkpoint, "cpu", base=files[1])


def test_the_students_of_fastsam3d_are_told_apart_by_their_tables():
    with torch.device("meta"):
        states = {name: build(name).state_dict() for name in ("fastsam3d", "fastsam3d_windowed")}
    assert {tuple(states["fastsam3d"][f"image_encoder.blocks.{n}.attn.rel_pos_d"].shape) for n in (2, 3, 4, 5)} == {
        (15, 128)
    }
    windowed = [
        tuple(states["fastsam3d_windowed"][f"image_encoder.blocks.{n}.attn.rel_pos_d"].shape) for n in (2, 3, 4, 5)
    ]
    assert windowed == [(15, 128), (27, 128), (27, 128), (15, 128)]
    for name, state in states.items():
        family, how = tell(Checkpoint(state))
        assert family == name
        assert how == "no other network is as near to its 216 weights"


@pytest.mark.parametrize("name", ["fastsam3d", "fastsam3d_windowed"])
def test_a_student_with_other_attention_heads_is_told_by_its_tables(name, tmp_path):
    usual = asdict(CONFIGS[name].encoder)
    small = {"width": 48, "out_channels": 48}
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        config = CONFIGS[name].with_sizes({"encoder": small, "decoder_mlp": 64})
        patch.setitem(CONFIGS, name, config)
        network = filled(build(name, {"encoder": {"heads": 8}}))
        checkpoint = Checkpoint(network.state_dict(), path=tmp_path / "student.pth")
        torch.save({"model_state_dict": dict(checkpoint.weights)}, checkpoint.path)
        model = load_model(checkpoint.path, family=name)
        assert model.plain_network.config.encoder.heads == 8
        assert model.plain_network.config.encoder.global_blocks == tuple(usual["global_blocks"])
    with torch.device("meta"):
        state = build(name, {"encoder": {"heads": 8}}).state_dict()
    assert tell(Checkpoint(state))[0] == name


PUBLISHED = Preset(
    (1.5, 1.5, 1.5), (128, 128, 128), (32, 32, 32), clamp=None, normalisation="zscore_positive", fit="lattice"
)
LIDC = Preset((1.0, 1.0, 1.0), (128, 128, 128), (32, 32, 32), (-1024.0, 300.0), False, True, "none")
WITH_96 = LIDC.to_json() | {"patch_shape": (96, 96, 96), "low_res_shape": (24, 24, 24)}
WHOLE_SLICES = Preset((1.5, 1.5, 1.5), (256, 256, 1), (64, 64, 1), normalisation="grey", fit="resize", boxes=True)
PRESETS = {
    **dict.fromkeys(("sam_med3d", "fastsam3d", "fastsam3d_windowed", "fastsam3d_teacher"), PUBLISHED.to_json()),
    "sam_med3d_boxes": PUBLISHED.to_json() | {"boxes": True},
    **dict.fromkeys(
        ("sam_med3d_vit_b", "sam_med3d_vit_l", "sam_med3d_vit_h"),
        PUBLISHED.to_json() | {"patch_shape": (256, 256, 256), "low_res_shape": (64, 64, 64)},
    ),
    "ct_lidc": LIDC.to_json(),
    "ct_lidc_96": WITH_96,
    "ct_lidc_32_slices": LIDC.to_json() | {"patch_shape": (32, 128, 128)},
    **dict.fromkeys(("sam_med2d", "sam_med2d_no_adapters", "ft_sam2d"), WHOLE_SLICES.to_json()),
    "sam_med2d_padded": WHOLE_SLICES.to_json() | {"fit": "pad"},
}


def test_each_family_prepares_images_as_published():
    assert {name: family.preset.to_json() for name, family in FAMILIES.items()} == PRESETS


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("sam_med3d", {}),
        ("sam_med3d_96", {"image_size": 96}),
        ("sam_med3d_32_slices", {"first_axis_divisor": 4}),
        ("fastsam3d_teacher", {"normalised_residual": True}),
        ("fastsam3d", {"depth": 6, "heads": 6, "window": 0, "global_blocks": (), "mlp_only_blocks": 2} | RESIDUAL),
        ("fastsam3d_windowed", {"depth": 6, "heads": 6, "global_blocks": (2, 5), "mlp_only_blocks": 2} | RESIDUAL),
        ("sam_med3d_vit_b", {"image_size": 256, "width": 384}),
        (
            "sam_med3d_vit_l",
            {"image_size": 256, "width": 1024, "depth": 24, "heads": 16, "global_blocks": (5, 11, 17, 23)},
        ),
        (
            "sam_med3d_vit_h",
            {"image_size": 256, "width": 1280, "depth": 32, "heads": 16, "global_blocks": (7, 15, 23, 31)},
        ),
    ],
)
def test_each_network_is_built_as_published(name, wanted):
    """What shapes do not tell too: heads, which blocks have windows, and where the residual begins."""
    usual = {
        "image_size": 128,
        "patch_size": 16,
        "width": 768,
        "depth": 12,
        "heads": 12,
        "window": 14,
        "global_blocks": (2, 5, 8, 11),
        "out_channels": 384,
        "adapter": False,
        "mlp_only_blocks": 0,
        "normalised_residual": False,
        "first_axis_divisor": 1,
    }
    assert asdict(CONFIGS[name].encoder) == usual | wanted


@pytest.mark.slow
def test_which_blocks_of_a_student_have_windows_is_read_from_its_tables(tmp_path):
    sizes = {"encoder": {"depth": 6, "heads": 6, "window": 14, "global_blocks": [5], "mlp_only_blocks": 2}}
    state = filled(build("fastsam3d_windowed", sizes)).state_dict()
    torch.save({"model_state_dict": state}, tmp_path / "student.pth")
    model = load_model(tmp_path / "student.pth")
    assert model.network.config.encoder.global_blocks == (5,)
    assert (model.network_name, model.preset, model.origin) == ("fastsam3d_windowed", Preset(), "student.pth")
    assert model.notes == ("taken for fastsam3d_windowed: no other network is as near to its 216 weights",)


def test_32_slices_run_in_patches_that_are_no_cubes(tmp_path):
    sizes = {"encoder": {"width": 24, "depth": 1, "heads": 2, "out_channels": 48}, "decoder_mlp": 64}
    network = filled(build("sam_med3d_32_slices", sizes))
    assert network.image_encoder.patch_embed.proj.weight.shape == (24, 1, 4, 16, 16)
    assert network.prompt_encoder.mask_downscaling[0].weight.shape == (4, 1, 1, 2, 2)
    with torch.inference_mode():
        embedding = network.encode(torch.randn(1, 1, 32, 128, 128))
        assert embedding.shape == (1, 48, 8, 8, 8)
        low_res = torch.zeros(1, 1, 32, 32, 32)
        click = torch.tensor([[[16.0, 60, 60]]]), torch.tensor([[1]])
        logits, _ = network.decode(embedding, *click, low_res)
        assert logits.shape == low_res.shape
        low_res = torch.randn(1, 1, 32, 32, 32, generator=torch.Generator().manual_seed(0))
        among = low_res.clone()
        among[:, :, torch.arange(32) % 4 != 0] = 7.0
        seen = network.decode(embedding, *click, low_res)[0]
        assert torch.equal(network.decode(embedding, *click, among)[0], seen), "of the mask prompt, every fourth slice"
        among[:, :, 4] = 7.0
        assert (network.decode(embedding, *click, among)[0] - seen).abs().max() > 1e-4
    write_checkpoint(tmp_path / "m.safetensors", network.state_dict(), sizes=sizes)
    predictor = load_predictor(tmp_path / "m.safetensors", "cpu", family="ct_lidc_32_slices")
    assert predictor.preset.patch_shape == (32, 128, 128)
    session = Session(small_volume((60, 70, 50)), predictor)
    session.click((90.0, 105.0, 75.0))
    session.click((20.0, 100.0, 70.0))
    assert session.mask().shape == (60, 70, 50)
    assert len(session.inferer.inner.visits(session.current.state)) == 2, "the second click is beyond the patch"


def test_upsampling_is_torchs_transposed_convolution():
    from sammed3d.nets.common import Upsample

    for factors in ((2, 2), (2, 2, 2), (1, 2, 2)):
        ours = Upsample(5, 3, factors).double()
        convolution = (
            torch.nn.functional.conv_transpose2d if len(factors) == 2 else torch.nn.functional.conv_transpose3d
        )
        x = torch.randn(2, 5, *range(3, 3 + len(factors)), dtype=torch.float64)
        expected = convolution(x, ours.weight, ours.bias, stride=factors)
        assert (ours(x) - expected).abs().max() < 1e-12


def test_plain_sam_is_refused_by_name(tmp_path):
    torch.save({"image_encoder.pos_embed": torch.zeros(1, 64, 64, 768)}, tmp_path / "sam_vit_b_01ec64.pth")
    with pytest.raises(CheckpointError, match=r"sam_vit_b_01ec64\.pth: a checkpoint of plain SAM for images of 1024"):
        load_predictor(tmp_path / "sam_vit_b_01ec64.pth", "cpu")


def test_what_a_file_does_not_tell_is_asked(tmp_path):
    with torch.device("meta"):
        state = build("sam_med3d").state_dict()
    with pytest.raises(AmbiguousFamilyError, match="fit several families") as caught:
        tell(Checkpoint(state, path=tmp_path / "model.pth"))
    assert caught.value.names == recognise(Checkpoint(state))
    assert tell(Checkpoint(state, path=tmp_path / "sam_med3d.pth"))[0] == "sam_med3d"
    assert tell(Checkpoint(state, {"family": "ct_lidc"}, tmp_path / "m.pth"))[0] == "ct_lidc"
    assert np.array_equal(caught.value.names, ["sam_med3d", "fastsam3d_teacher", "ct_lidc"])


def test_no_name_at_all_is_no_model():
    with pytest.raises(ModelError, match="A model has a name, or a file"):
        load_model("")
