"""The same weights in facebookresearch/DiT's network, written once more, and in ours: the same images."""

from dataclasses import replace

import pytest
import torch
from backbones.peer_dit import Peer, forward, random_weights, waves
from backbones.peer_unet import randomise

from triptych.backbones.dit import DiTConfig, sized
from triptych.backbones.dit_tensors import from_theirs, sizes_of, to_theirs
from triptych.errors import UserError

SMALL = {
    "pixels for patches": Peer(6, 1, 1, 8, 2, 2, num_classes=4, learn_sigma=False),
    "in colour": Peer(8, 2, 3, 16, 3, 4, num_classes=10, learn_sigma=False),
    "large patches": Peer(12, 4, 3, 24, 1, 3, mlp_ratio=2.5, num_classes=2, learn_sigma=False),
    "variances": Peer(8, 2, 3, 12, 2, 1, num_classes=3, learn_sigma=True),
    "one class": Peer(4, 2, 1, 8, 1, 2, num_classes=1, learn_sigma=False),
    "unconditional": Peer(8, 4, 3, 8, 2, 2, class_dropout_prob=0.0, num_classes=1, learn_sigma=False),
}
TINY = SMALL["in colour"]
OURS = DiTConfig(patch=2, width=16, depth=3, heads=4)
"""TINY, by our names."""


def inputs(peer):
    """Return images, steps and classes (the null class among them) to try a network on."""
    x = torch.randn(3, peer.in_channels, peer.input_size, peer.input_size, generator=torch.manual_seed(1))
    last = peer.num_classes if peer.class_dropout_prob else 0
    return x, torch.tensor([0.0, 417.0, 999.0]), torch.tensor([0, last, max(last - 1, 0)])


def ours_from(theirs, heads):
    """Return our network with the sizes and weights of theirs."""
    sizes = sizes_of(theirs, heads)
    network = sizes.config.build(sizes.channels, sizes.image_size, sizes.classes)
    network.load_state_dict(from_theirs(theirs, sizes))
    return network.eval()


def called(network, x, t, y):
    return network(x, t, y if network.classes else None)


@torch.no_grad()
@pytest.mark.parametrize("name", SMALL)
def test_small_networks_agree(name):
    peer = SMALL[name]
    theirs = random_weights(peer)
    x, t, y = inputs(peer)
    expected = forward(theirs, peer, x, t, y)[:, : peer.in_channels]
    ours = ours_from(theirs, peer.num_heads)
    assert expected.std() > 0.1
    torch.testing.assert_close(called(ours, x, t, y), expected, rtol=0, atol=1e-5)

    # Sines of angles up to 999 in float32 differ by their rounding, which is not the networks' doing.
    cosine, sine = waves(t.double()).chunk(2, dim=1)
    seen = torch.cat([sine, cosine], dim=1)
    ours.double().noise_embedding.up.register_forward_pre_hook(lambda *_: (seen,))
    wide = {name: tensor.double() for name, tensor in theirs.items()}
    if "positions" not in ours.state_dict():
        wide["pos_embed"] = ours.positions[None].double()
    if ours.classes == 0:  # the two were added in float32
        wide["y_embedder.embedding_table.weight"].zero_()
        wide["t_embedder.mlp.2.bias"] = ours.noise_embedding.out.bias
    expected = forward(wide, peer, x.double(), t.double(), y)[:, : peer.in_channels]
    torch.testing.assert_close(called(ours, x.double(), t, y), expected, rtol=0, atol=1e-12)


@torch.no_grad()
def test_the_paper_s_smallest_network_agrees():
    config = sized("S", 2)
    ours = randomise(config.build(3, 32, 10))
    theirs = to_theirs(ours.state_dict(), config, 32)
    assert sum(parameter.numel() for parameter in ours.parameters()) == 32_475_660
    assert sizes_of(theirs) == (config, 3, 32, 11, False)
    peer = Peer(32, 2, 3, 384, 12, 6, num_classes=10, learn_sigma=False)
    x, t, y = (part[1:2] for part in inputs(peer))
    expected = forward(theirs, peer, x, t, y)
    assert expected.std() > 0.1
    torch.testing.assert_close(ours(x, t, y), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["in colour", "large patches"])
def test_gradients_agree(name):
    peer = SMALL[name]
    theirs = {name: tensor.requires_grad_() for name, tensor in random_weights(peer).items()}
    ours = ours_from({name: tensor.detach() for name, tensor in theirs.items()}, peer.num_heads)
    x, t, y = inputs(peer)
    forward(theirs, peer, x, t, y).square().mean().backward()
    ours(x, t, y).square().mean().backward()
    config = sizes_of(theirs, peer.num_heads).config
    mine = to_theirs({name: p.grad for name, p in ours.named_parameters()}, config, peer.input_size)
    assert mine.keys() == theirs.keys()
    for name in mine.keys() - {"pos_embed"}:  # which is fixed
        torch.testing.assert_close(mine[name], theirs[name].grad, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("classes", [0, 1, 5])
@pytest.mark.parametrize(
    "config",
    [
        OURS,
        replace(OURS, patch=1, heads=2, mlp_ratio=1.3),
        replace(OURS, patch=4, positions="learned", gradient_checkpointing=True),
    ],
)
def test_there_and_back_changes_no_bit(config, classes):
    ours = randomise(config.build(3, 8, classes), seed=3)
    theirs = to_theirs(ours.state_dict(), config, 8)
    sizes = sizes_of(theirs, config.heads)
    assert (sizes.config.positions, sizes.classes, sizes.image_size) == (config.positions, classes, 8)
    back = from_theirs(theirs, sizes)
    assert back.keys() == ours.state_dict().keys()
    assert all(torch.equal(tensor, ours.state_dict()[name]) for name, tensor in back.items())


@pytest.mark.parametrize("name", [name for name in SMALL if name not in ("variances", "unconditional")])
def test_back_and_there_changes_no_bit(name):
    theirs = random_weights(SMALL[name])
    sizes = sizes_of(theirs, SMALL[name].num_heads)
    again = to_theirs(from_theirs(theirs, sizes), sizes.config, sizes.image_size)
    assert {name: tensor.shape for name, tensor in again.items()} == {
        name: tensor.shape for name, tensor in theirs.items()
    }
    assert all(torch.equal(again[name], theirs[name]) for name in theirs.keys() - {"pos_embed"})
    # Their positions are computed anew, as ours are.
    torch.testing.assert_close(again["pos_embed"], theirs["pos_embed"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", SMALL)
def test_all_sizes_but_heads_are_told_by_shapes(name):
    peer = SMALL[name]
    sizes = sizes_of(random_weights(peer), peer.num_heads)
    config = DiTConfig(
        patch=peer.patch_size,
        width=peer.hidden_size,
        depth=peer.depth,
        heads=peer.num_heads,
        mlp_ratio=peer.mlp_ratio,
    )
    rows = peer.num_classes + (peer.class_dropout_prob > 0)
    assert sizes == (config, peer.in_channels, peer.input_size, rows, peer.learn_sigma)


@pytest.mark.parametrize(("width", "heads"), [(384, 6), (768, 12), (1024, 16), (1152, 16)])
def test_heads_of_the_paper_s_widths_are_known(width, heads):
    theirs = random_weights(replace(TINY, hidden_size=width, depth=1, mlp_ratio=1 / 32))
    assert sizes_of(theirs).config.heads == heads
    assert sizes_of(theirs, 4).config.heads == 4


@torch.no_grad()
@pytest.mark.parametrize(("moved", "kind"), [(9e-6, "sincos"), (2e-5, "learned")])
def test_other_positions_are_learned_ones(moved, kind):
    theirs = random_weights(TINY)
    theirs["pos_embed"][0, 3, 5] += moved
    ours = ours_from(theirs, 4)
    assert sizes_of(theirs, 4).config.positions == kind
    x, t, y = inputs(TINY)
    torch.testing.assert_close(ours(x, t, y), forward(theirs, TINY, x, t, y), rtol=0, atol=5e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_without_loss(dtype):
    half = {name: tensor.to(dtype) for name, tensor in random_weights(TINY).items()}
    sizes = sizes_of(half, 4)
    assert sizes.config.positions == "sincos"
    read = from_theirs(half, sizes)
    assert {tensor.dtype for tensor in read.values()} == {torch.float32}
    back = to_theirs(read, sizes.config, 8)
    assert all(torch.equal(back[name].to(dtype), half[name]) for name in half.keys() - {"pos_embed"})


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("long_skips", True, "backbone.long-skips True: theirs has False alone"),
        ("output_conv", True, "backbone.output-conv True"),
        ("detail_channels", 4, "backbone.detail-channels 4: theirs has 0 alone"),
        ("norm", "rms", "backbone.norm rms: theirs has layer alone"),
        ("mlp", "swiglu", "backbone.mlp swiglu: theirs has gelu alone"),
        ("qk_norm", True, "backbone.qk-norm True"),
    ],
)
def test_what_their_network_does_not_have_is_refused_by_name(field, value, told):
    config = replace(OURS, **{field: value})
    with pytest.raises(UserError) as refused:
        to_theirs(config.build(3, 8, 2).state_dict(), config, 8)
    assert told in str(refused.value)


QKV = "blocks.1.attn.qkv.bias"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({QKV: None, "final_layer.linear.bias": None}, f"missing tensor '{QKV}' (2 of "),
        ({"x_embedder.proj.weight": None}, "missing tensor 'x_embedder.proj.weight', which tells its sizes"),
        ({"pos_embed": None}, "missing tensor 'pos_embed'"),
        ({"blocks.0.mlp.fc1.weight": None}, "missing tensor 'blocks.0.mlp.fc1.weight'"),
        ({"extra": torch.zeros(1), "more": torch.zeros(1)}, "unknown tensor 'extra' (2 of "),
        ({"blocks.7.attn.qkv.bias": torch.zeros(48)}, "missing tensor 'blocks.3.adaLN_modulation.1.bias'"),
        ({"blocks.x\n": torch.zeros(48)}, "missing tensor 'blocks.3."),
        ({QKV: torch.zeros(7)}, f"{QKV} is float32 [7], not float [48] (1 of "),
        ({QKV: torch.zeros(48, dtype=torch.int32)}, f"{QKV} is int32 [48], not float"),
        ({QKV: torch.zeros(48, dtype=torch.float64)}, f"{QKV} is float64 [48], not float"),
        ({"pos_embed": torch.zeros(1, 15, 16)}, "[1, 15, 16], not float [1, N, 16] where N is a square"),
        ({"pos_embed": torch.zeros(1, 16, 12)}, "pos_embed is float32 [1, 16, 12], not float [1, 16, 16]"),
        ({"pos_embed": torch.zeros(1, 16, 16, dtype=torch.int64)}, "pos_embed is int64"),
        ({"pos_embed": torch.zeros(1, 0, 16)}, "pos_embed is float32 [1, 0, 16], not float [1, N, D]"),
        ({"x_embedder.proj.weight": torch.zeros(16, 12)}, "[16, 12], not float [D, C, p, p]"),
        ({"x_embedder.proj.weight": torch.zeros(16, 3, 2, 1)}, "[16, 3, 2, 1], not float [16, 3, 2, 2]"),
        ({"final_layer.linear.weight": torch.zeros(36, 16)}, "[36, 16], not float [12, 16]"),
        ({"t_embedder.mlp.0.weight": torch.zeros(16, 128)}, "[16, 128], not float [16, 256]"),
        ({"blocks.0.mlp.fc1.weight": torch.zeros(1040, 16)}, "backbone.mlp-ratio 65: out of range"),
    ],
)
def test_tensors_that_do_not_fit_are_named(changed, told):
    given = {name: tensor for name, tensor in (random_weights(TINY) | changed).items() if tensor is not None}
    with pytest.raises(UserError) as refused:
        from_theirs(given, sizes_of(given, 4))
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("heads", "told"),
    [
        (None, "no shape tells how many attention heads it has"),
        (3, "--heads 3: its width 16 is not a multiple of it"),
        (0, "--heads 0"),
        (-4, "--heads -4"),
    ],
)
def test_heads_have_to_be_known_and_to_divide_the_width(heads, told):
    with pytest.raises(UserError) as refused:
        sizes_of(random_weights(TINY), heads)
    assert told in str(refused.value)


def test_a_width_that_ours_cannot_have_is_refused():
    with pytest.raises(UserError, match=r"import a DiT with backbone\.width 6"):
        sizes_of(random_weights(replace(TINY, hidden_size=6)) | {"pos_embed": torch.zeros(1, 16, 6)}, 1)
