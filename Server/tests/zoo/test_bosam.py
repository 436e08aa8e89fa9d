"""BoSAM's five ways to store low-rank updates, all loaded to the same network."""

import warnings

import pytest
import torch
from typer.testing import CliRunner

from networks import TINY_2D, TINY_PRESET, TINY_SIZES, filled
from sammed3d.cli.app import app
from sammed3d.errors import CheckpointError, ModelError, ModelWarning
from sammed3d.nets import build
from sammed3d.training.contract import model_to_train
from sammed3d.training.prepared import Preparation
from sammed3d.training.recipe import Recipe
from sammed3d.zoo import load_model, load_predictor
from sammed3d.zoo.adapters.bosam import is_lora, merge_lora
from sammed3d.zoo.checkpoint import Checkpoint, load_weights, read_checkpoint, write_checkpoint

DEPTH, WIDTH, RANK, DEAD = 3, 48, 4, 5
QKV = "image_encoder.blocks.0.attn.qkv.weight"


@pytest.fixture(scope="module")
def base():
    return filled(build("sam_med3d", TINY_SIZES)).state_dict()


@pytest.fixture(scope="module")
def matrices():
    """A (rank, width) and B (width, rank) for q and v of every block, in BoSAM's order."""
    generator = torch.Generator().manual_seed(0)
    a = [0.1 * torch.randn(RANK, WIDTH, generator=generator) for _ in range(2 * DEPTH)]
    b = [0.1 * torch.randn(WIDTH, RANK, generator=generator) for _ in range(2 * DEPTH)]
    return a, b


@pytest.fixture(scope="module")
def expected(base, matrices):
    """Each block's qkv with the updates added by hand."""
    weights = dict(base)
    for block in range(DEPTH):
        key = f"image_encoder.blocks.{block}.attn.qkv.weight"
        q, k, v = weights[key].double().chunk(3)
        q = q + matrices[1][2 * block].double() @ matrices[0][2 * block].double()
        v = v + matrices[1][2 * block + 1].double() @ matrices[0][2 * block + 1].double()
        weights[key] = torch.cat([q, k, v]).float()
    return weights


def wrapped_model(base, matrices):
    """The whole model as `train_lora.py` saves it: prefix, doubled matrices, dead decoder matrices."""
    weights = {}
    for key, value in base.items():
        weights["sam." + key.replace(".attn.qkv.", ".attn.qkv.qkv.")] = value
    for n, (a, b) in enumerate(zip(*matrices, strict=True)):
        place, part = f"sam.image_encoder.blocks.{n // 2}.attn.qkv", "qv"[n % 2]
        weights |= {f"{place}.linear_a_{part}.weight": a, f"{place}.linear_b_{part}.weight": b}
        weights |= {f"w_As.{n}.weight": a, f"w_Bs.{n}.weight": b}
    for n in range(DEAD):
        weights |= {
            f"mask_decoder_w_As.{n}.weight": torch.ones(4, 4),
            f"mask_decoder_w_Bs.{n}.weight": torch.ones(4, 4),
        }
    return weights


def write_whole(path, base, matrices):
    torch.save({"model_state_dict": wrapped_model(base, matrices), "best_val_dice": 0.8}, path / "m.pth")
    return path / "m.pth"


def write_new_safetensors(path, base, matrices):
    named = {f"image_encoder_w_a_{n:03d}": a for n, a in enumerate(matrices[0])}
    named |= {f"image_encoder_w_b_{n:03d}": b for n, b in enumerate(matrices[1])}
    named |= {f"mask_decoder_w_{s}_{n:03d}": torch.ones(4, 4) for s in "ab" for n in range(DEAD)}
    write_checkpoint(path / "m.safetensors", named)
    return path / "m.safetensors"


def write_old_safetensors(path, base, matrices):
    named = {f"w_a_{n:03d}": a for n, a in enumerate(matrices[0])} | {
        f"w_b_{n:03d}": b for n, b in enumerate(matrices[1])
    }
    write_checkpoint(path / "m.safetensors", named)
    return path / "m.safetensors"


def write_flat(path, base, matrices):
    named = {f"w_As.{n}.weight": a for n, a in enumerate(matrices[0])}
    named |= {f"w_Bs.{n}.weight": b for n, b in enumerate(matrices[1])}
    torch.save(named, path / "m.pth")
    return path / "m.pth"


def write_nested(path, base, matrices):
    torch.save({f"w_{s}s": [{"weight": m} for m in ms] for s, ms in zip("AB", matrices, strict=True)}, path / "m.pth")
    return path / "m.pth"


@pytest.mark.parametrize("write", [write_whole, write_new_safetensors, write_old_safetensors, write_flat, write_nested])
def test_every_format_merges_to_the_same_weights(tmp_path, base, matrices, expected, write):
    checkpoint = read_checkpoint(write(tmp_path, base, matrices))
    assert is_lora(checkpoint)
    merged = merge_lora(checkpoint, Checkpoint(base))
    network = build("sam_med3d", TINY_SIZES)
    load_weights(network, merged)
    for key, value in network.state_dict().items():
        assert (value - expected[key]).abs().max() < 1e-6, key
    assert f"merged {2 * DEPTH} low-rank updates into {DEPTH} encoder blocks" in merged.notes
    has_dead = write in (write_whole, write_new_safetensors)
    assert any(f"left out {2 * DEAD} matrices of the mask decoder" in note for note in merged.notes) == has_dead


def test_merged_equals_unmerged(base, matrices):
    """qkv(x) + B A x on query and value, against the merged layer, in float64."""
    merged = merge_lora(Checkpoint(wrapped_model(base, matrices))).weights
    x = torch.randn(7, WIDTH, dtype=torch.float64)
    for block in range(DEPTH):
        place = f"image_encoder.blocks.{block}.attn.qkv"
        unmerged = x @ base[f"{place}.weight"].double().T
        unmerged[:, :WIDTH] += x @ matrices[0][2 * block].double().T @ matrices[1][2 * block].double().T
        unmerged[:, -WIDTH:] += x @ matrices[0][2 * block + 1].double().T @ matrices[1][2 * block + 1].double().T
        assert (x @ merged[f"{place}.weight"].double().T - unmerged).abs().max() < 1e-5


def test_a_base_of_half_precision_is_merged_in_full_and_all_is_sam_med3d(base, matrices):
    alone = {f"w_As.{n}.weight": a for n, a in enumerate(matrices[0])}
    alone |= {f"w_Bs.{n}.weight": b for n, b in enumerate(matrices[1])}
    half = {key: value.bfloat16() for key, value in base.items()}
    with pytest.warns(ModelWarning):
        merged = merge_lora(Checkpoint(alone), Checkpoint(half, {"family": "ct_lidc", "licence": "x"}))
    assert merged.metadata == {"family": "sam_med3d", "licence": "x"}
    assert merge_lora(Checkpoint(wrapped_model(base, matrices))).metadata == {"family": "sam_med3d"}
    q = base[QKV].bfloat16().double()[:WIDTH] + matrices[1][0].double() @ matrices[0][0].double()
    assert (merged.weights[QKV].double()[:WIDTH] - q).abs().max() < 1e-6


def test_the_base_is_not_touched(tmp_path, base, matrices):
    before = {k: v.clone() for k, v in base.items()}
    merge_lora(read_checkpoint(write_flat(tmp_path, base, matrices)), Checkpoint(base))
    assert all(torch.equal(base[k], before[k]) for k in base)


def test_plain_checkpoints_are_no_lora(base):
    assert not is_lora(Checkpoint(base))


def test_matrices_alone_come_with_a_warning(tmp_path, base, matrices):
    """BoSAM's training leaves qkv layers at random values that a file of matrices does not hold."""
    with pytest.warns(ModelWarning, match=r"m\.pth: .*24 tensors"):
        merged = merge_lora(read_checkpoint(write_flat(tmp_path, base, matrices)), Checkpoint(base))
    assert any("24 tensors" in note for note in merged.notes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        merge_lora(read_checkpoint(write_whole(tmp_path, base, matrices)))


def test_matrices_do_not_belong_to_2d_networks(tmp_path, matrices):
    """Widths fit, and merging would make a model that nobody trained."""
    flat = filled(build("ft_sam2d", {"encoder": TINY_2D["encoder"] | {"depth": DEPTH}, "decoder_mlp": 64})).state_dict()
    checkpoint = read_checkpoint(write_flat(tmp_path, flat, matrices))
    with pytest.raises(CheckpointError, match=r"ft_sam\.pth: is no 3-D network"):
        merge_lora(checkpoint, Checkpoint(flat, path=tmp_path / "ft_sam.pth"))


@pytest.mark.filterwarnings("ignore::sammed3d.errors.ModelWarning")
def test_a_base_is_named_wherever_models_are_given(tmp_path, base, matrices, monkeypatch):
    """Import makes it whole; training starts from a wrapped model; both keep what their base says of itself."""
    monkeypatch.setenv("SAMMED3D_MODELS", str(tmp_path / "models"))
    whole, alone = tmp_path / "base.safetensors", write_new_safetensors(tmp_path, base, matrices)
    about = {"network": "sam_med3d", "sizes": TINY_SIZES, "preset": TINY_PRESET.to_json()}
    write_checkpoint(whole, base, **about)
    command = ["models", "import", str(alone), "--base", str(whole), "--name", "merged"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    model = load_model("merged")
    assert model.preset == TINY_PRESET
    assert not torch.equal(model.network.state_dict()[QKV], base[QKV])
    wrapped = tmp_path / "wrapped.safetensors"
    tensors = {key: value.clone() for key, value in wrapped_model(base, matrices).items()}
    write_checkpoint(wrapped, tensors, sizes=TINY_SIZES, preset=TINY_PRESET.to_json())
    started = model_to_train(
        Recipe.read(None, start=str(wrapped), family="sam_med3d"), Preparation(tmp_path, 3.0, None, {}), ["ct_x"]
    )
    assert torch.allclose(started.network.state_dict()[QKV], model.network.state_dict()[QKV], atol=1e-6)


def test_a_base_that_is_not_needed_is_refused(tmp_path, base):
    write_checkpoint(tmp_path / "m.safetensors", base)
    with pytest.raises(ModelError, match=r"m\.safetensors: is a whole model, .* Leave the base out"):
        load_predictor(tmp_path / "m.safetensors", "cpu", base=tmp_path / "m.safetensors")


def test_matrices_alone_need_their_base(tmp_path, base, matrices):
    checkpoint = read_checkpoint(write_flat(tmp_path, base, matrices))
    with pytest.raises(CheckpointError, match=r"m\.pth: holds low-rank \(LoRA\) matrices only.*--base"):
        merge_lora(checkpoint)


def test_incomplete_and_unfitting_matrices_are_named(base, matrices):
    weights = wrapped_model(base, matrices)
    for key in ("sam.image_encoder.blocks.1.attn.qkv.linear_b_v.weight", "w_Bs.3.weight"):
        del weights[key]
    with pytest.raises(CheckpointError, match=r"missing \(block 1 v\)"):
        merge_lora(Checkpoint(weights))
    other = filled(build("sam_med3d", TINY_SIZES | {"encoder": TINY_SIZES["encoder"] | {"width": 96}})).state_dict()
    alone = {f"w_As.{n}.weight": a for n, a in enumerate(matrices[0])}
    alone |= {f"w_Bs.{n}.weight": b for n, b in enumerate(matrices[1])}
    with pytest.raises(CheckpointError, match="does not fit its model"):
        merge_lora(Checkpoint(alone), Checkpoint(other))
