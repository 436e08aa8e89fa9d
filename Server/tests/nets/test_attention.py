"""The cheap attention against the literal padded form, in float64, and its pieces."""

import pytest
import torch

from networks import TINY_2D, TINY_SIZES, filled
from sammed3d.nets import build
from sammed3d.nets.attention_3d import Attention3d, equal_windows
from sammed3d.nets.common import relative
from sammed3d.nets.image_encoder_2d import Attention2d
from sammed3d.nets.literal import LITERAL, make_literal
from sammed3d.nets.sam_med3d import SamMed3d, SamMed3dConfig


def pair(grid, window, width=24, heads=3, cheap_kind=Attention3d):
    cheap = filled(cheap_kind(width, heads, window, grid)).double()
    literal = LITERAL[cheap_kind](width, heads, window, grid).double()
    literal.load_state_dict(cheap.state_dict())
    return cheap, literal


@pytest.mark.parametrize(
    ("grid", "window"),
    [(8, 14), (16, 14), (8, 4), (8, 0), (6, 4), (5, 3), (2, 7)],
    ids=str,
)
@pytest.mark.slow
def test_cheap_attention_is_the_literal_padded_one(grid, window):
    heads = 1 if grid == 16 else 3  # 2744 x 2744 logits for each of 8 windows in float64
    cheap, literal = pair(grid, window, 8 * heads, heads)
    x = torch.randn(1 if grid == 16 else 2, grid, grid, grid, 8 * heads, dtype=torch.float64)
    with torch.inference_mode():
        assert (cheap(x) - literal(x)).abs().max() < 1e-10


@pytest.mark.parametrize(("grid", "window"), [(16, 14), (16, 0), (8, 4), (5, 3), (2, 7)], ids=str)
def test_cheap_2d_attention_is_the_literal_padded_one(grid, window):
    cheap, literal = pair(grid, window, cheap_kind=Attention2d)
    x = torch.randn(2, grid, grid, 24, dtype=torch.float64)
    with torch.inference_mode():
        assert (cheap(x) - literal(x)).abs().max() < 1e-10


@pytest.mark.parametrize(("kind", "dimensions"), [(Attention3d, 3), (Attention2d, 2)], ids=["3d", "2d"])
def test_gradients_are_those_of_the_literal_form(kind, dimensions):
    cheap, literal = pair(4, 3, cheap_kind=kind)
    x = torch.randn(1, *[4] * dimensions, 24, dtype=torch.float64)
    for module in (cheap, literal):
        module.zero_grad()
        (module(x) ** 2).sum().backward()
    for name, parameter in cheap.named_parameters():
        other = literal.get_parameter(name).grad
        assert parameter.grad is not None
        assert (parameter.grad - other).abs().max() < 1e-9 * max(1, other.abs().max()), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_what_position_adds_is_summed_in_float32_in_mixed_precision_too(dtype):
    """The padding's mass is sums of thousands of exponentials; with 8 or 11 bits they would lose what it weighs."""
    attention = filled(Attention3d(24, 3, 14, 8))
    drawn = torch.Generator().manual_seed(0)
    q = torch.randn(1, 3, 8, 8, 8, 8, generator=drawn).to(dtype)
    of_padding = torch.randn(3, 1, 8, generator=drawn).to(dtype)
    bias, padded = attention._position_bias(q, of_padding)  # noqa: SLF001
    assert (bias.dtype, padded.dtype) == (torch.float32, torch.float32)
    sums, exact = attention._position_bias(q.double(), of_padding.double())  # noqa: SLF001
    assert (bias - sums).abs().max() < (0.005 if dtype == torch.float16 else 0.05)
    assert (padded - exact).abs().max() < (0.005 if dtype == torch.float16 else 0.05)


def test_padded_tokens_take_part():
    """Masking the padding, or shrinking the window to the grid, would be a wrong re-implementation."""
    cheap, _ = pair(4, 7)
    shrunk = Attention3d(24, 3, 4, 4).double()
    state = cheap.state_dict()
    for axis in "dhw":
        state[f"rel_pos_{axis}"] = state[f"rel_pos_{axis}"][3:10]
    shrunk.load_state_dict(state)
    x = torch.randn(1, 4, 4, 4, 24, dtype=torch.float64)
    assert (cheap(x) - shrunk(x)).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("name", "sizes", "long_forms"),
    [
        ("sam_med3d", TINY_SIZES, 6),
        ("fastsam3d", TINY_SIZES | {"encoder": TINY_SIZES["encoder"] | {"window": 0, "global_blocks": ()}}, 4),
        ("fastsam3d_windowed", TINY_SIZES, 4),
        ("sam_med2d", TINY_2D, 6),
    ],
)
def test_whole_networks_equal_their_literal_form(name, sizes, long_forms):
    network = filled(build(name, sizes)).double()
    dimensions = 2 if name == "sam_med2d" else 3
    image = torch.randn(2, 3 if dimensions == 2 else 1, *[64] * dimensions, dtype=torch.float64)
    coords, labels = 60 * torch.rand(2, 1, dimensions), torch.tensor([[1], [0]])
    low_res = torch.rand(2, 1, *[16] * dimensions, dtype=torch.float64)
    with torch.inference_mode():
        cheap = network.encode(image)
        logits, scores = network.decode(cheap, coords, labels, low_res)
        make_literal(network)
        literal = network.encode(image)
        answers = network.decode(literal, coords, labels, low_res)
    assert sum(isinstance(module, tuple(LITERAL.values())) for module in network.modules()) == long_forms
    for ours, other in ((cheap, literal), (logits, answers[0]), (scores, answers[1])):
        assert (ours - other).abs().max() < 1e-10 * max(1, other.abs().max())


@pytest.mark.parametrize(("grid", "window", "groups"), [((8, 8, 8), 14, 1), ((16, 16, 16), 14, 8), ((6, 6, 4), 2, 1)])
def test_windows_partition_the_grid(grid, window, groups):
    x = torch.arange(2 * grid[0] * grid[1] * grid[2] * 3).view(2, *grid, 3)
    out = torch.full_like(x, -1)
    partition = list(equal_windows(grid, window))
    assert len(partition) == groups
    for windows in partition:
        split = windows.split(x[windows.slices])
        assert max(split.shape[1:4]) <= window
        assert (out[windows.slices] == -1).all()
        out[windows.slices] = windows.join(split, 2)
    assert torch.equal(out, x)


def test_relative_tables_of_another_length_are_interpolated():
    table = torch.arange(5.0)[:, None]
    assert relative(table, 3)[:, :, 0].tolist() == [[2, 1, 0], [3, 2, 1], [4, 3, 2]]
    # the centres of 9 equal parts of what the 5 entries stand for; beyond the outermost entry, that
    longer = [min(max((n + 0.5) * 5 / 9 - 0.5, 0), 4) for n in range(9)]
    assert relative(table, 5)[:, :, 0].flatten().tolist() == pytest.approx(
        [longer[i - j + 4] for i in range(5) for j in range(5)]
    )
    shorter = [(n + 0.5) * 5 / 3 - 0.5 for n in range(3)]
    assert relative(table, 2)[:, :, 0].flatten().tolist() == pytest.approx([shorter[n] for n in (1, 0, 2, 1)])


def test_published_builders_have_the_published_sizes():
    from sammed3d.nets import build

    counts = {"sam_med3d_vit_b": 36_187_312, "sam_med3d_vit_l": 322_787_248, "sam_med3d_vit_h": 652_435_376}
    for name, expected in counts.items():
        with torch.device("meta"):
            network = build(name)
        assert sum(p.numel() for p in network.state_dict().values()) == expected, name
        assert network.image_encoder.pos_embed.shape[1:4] == (16, 16, 16)


def test_a_256_network_encodes_and_decodes():
    config = SamMed3dConfig().with_sizes(
        {"encoder": {"image_size": 256, "width": 24, "depth": 2, "heads": 2, "global_blocks": [1], "out_channels": 48}}
    )
    network = SamMed3d(config).eval()
    with torch.inference_mode():
        embedding = network.encode(torch.zeros(1, 1, 256, 256, 256))
        assert embedding.shape == (1, 48, 16, 16, 16)
        low_res = torch.zeros(1, 1, 64, 64, 64)
        logits, scores = network.decode(embedding, torch.tensor([[[9, 8, 200]]]), torch.tensor([[1]]), low_res)
    assert logits.shape == low_res.shape
    assert scores.shape == (1, 1)
