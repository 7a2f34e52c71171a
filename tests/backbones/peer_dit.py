"""The Diffusion Transformer once more, from its paper (arXiv 2212.09748) and its checkpoints' names alone.

Plain functions over a state dict under the names of facebookresearch/DiT; attention is written out, and
nothing here knows of ours.

Letters: b image, n token, d its width, h head, e width of a head, c channel, p q row and column in a patch.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Peer:
    """The sizes of a network, as its own constructor calls them."""

    input_size: int
    patch_size: int
    in_channels: int
    hidden_size: int
    depth: int
    num_heads: int
    mlp_ratio: float = 4.0
    class_dropout_prob: float = 0.1
    num_classes: int = 1000
    learn_sigma: bool = True

    @property
    def out_channels(self):
        return 2 * self.in_channels if self.learn_sigma else self.in_channels


def shapes(peer):
    """Return the shape of each of its tensors by name."""
    width, pixels, tokens = peer.hidden_size, peer.patch_size**2, (peer.input_size // peer.patch_size) ** 2
    inside = int(width * peer.mlp_ratio)
    maps = {
        "t_embedder.mlp.0": (width, 256),
        "t_embedder.mlp.2": (width, width),
        "x_embedder.proj": (width, peer.in_channels, peer.patch_size, peer.patch_size),
        "final_layer.adaLN_modulation.1": (2 * width, width),
        "final_layer.linear": (pixels * peer.out_channels, width),
    }
    for i in range(peer.depth):
        maps[f"blocks.{i}.attn.qkv"] = (3 * width, width)
        maps[f"blocks.{i}.attn.proj"] = (width, width)
        maps[f"blocks.{i}.mlp.fc1"] = (inside, width)
        maps[f"blocks.{i}.mlp.fc2"] = (width, inside)
        maps[f"blocks.{i}.adaLN_modulation.1"] = (6 * width, width)
    found = {"pos_embed": (1, tokens, width)}
    found["y_embedder.embedding_table.weight"] = (peer.num_classes + (peer.class_dropout_prob > 0), width)
    for name, shape in maps.items():
        found[f"{name}.weight"], found[f"{name}.bias"] = shape, shape[:1]
    return found


def random_weights(peer, seed=0):
    """Return random weights at which outputs stay near 1, with the positions of the paper."""
    generator = torch.Generator().manual_seed(seed)
    drawn = {}
    for name, shape in shapes(peer).items():
        fan_in = math.prod(shape[1:])
        scale = fan_in**-0.5 if name.endswith("weight") else 0.1
        drawn[name] = scale * torch.randn(shape, generator=generator)
    drawn["pos_embed"] = positions(peer.input_size // peer.patch_size, peer.hidden_size).float()
    return drawn


def positions(side, width):
    """Return each token's column, then its row, as sines, then cosines: f64 [1, n, d]."""
    table = torch.empty(side, side, width, dtype=torch.float64)
    quarter = width // 4
    for row in range(side):
        for column in range(side):
            for start, place in ((0, column), (width // 2, row)):
                for i in range(quarter):
                    angle = place / 10000 ** (i / quarter)
                    table[row, column, start + i] = math.sin(angle)
                    table[row, column, start + quarter + i] = math.cos(angle)
    return table.reshape(1, side * side, width)


def waves(t):
    """Return what a time step is seen as, cosines first, in its own precision: [b, 256]."""
    angles = t[:, None] * torch.exp(-math.log(10000) * torch.arange(128, dtype=t.dtype) / 128)
    return torch.cat([torch.cos(angles), torch.sin(angles)], dim=-1)


def forward(weights, peer, x, t, y):
    """Return the network's output [b, out_channels, height, width] for images, time steps and classes."""

    def affine(name, value):
        return value @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def standardised(value):
        centred = value - value.mean(-1, keepdim=True)
        return centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + 1e-6)

    def attention(name, value):
        parts = affine(f"{name}.qkv", value).chunk(3, dim=-1)
        query, key, gathered = (part.unflatten(-1, (peer.num_heads, -1)) for part in parts)  # b n h e
        scores = torch.einsum("bnhe,bmhe->bhnm", query, key) / math.sqrt(query.shape[-1])
        mixed = torch.einsum("bhnm,bmhe->bnhe", torch.softmax(scores, dim=-1), gathered)
        return affine(f"{name}.proj", mixed.flatten(-2))

    def perceptron(name, value):
        u = affine(f"{name}.fc1", value)
        gelu = 0.5 * u * (1 + torch.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3)))
        return affine(f"{name}.fc2", gelu)

    condition = affine("t_embedder.mlp.2", F.silu(affine("t_embedder.mlp.0", waves(t))))
    condition = F.silu(condition + weights["y_embedder.embedding_table.weight"][y])[:, None]  # b 1 d

    kernel, offset = weights["x_embedder.proj.weight"], weights["x_embedder.proj.bias"]
    tokens = F.conv2d(x, kernel, offset, stride=peer.patch_size).flatten(2).mT + weights["pos_embed"]  # b n d
    for i in range(peer.depth):
        block = f"blocks.{i}"
        for branch, layer, told in zip(
            (attention, perceptron),
            ("attn", "mlp"),
            affine(f"{block}.adaLN_modulation.1", condition).chunk(2, dim=-1),
            strict=True,
        ):
            shift, scale, gate = told.chunk(3, dim=-1)
            tokens = tokens + gate * branch(f"{block}.{layer}", standardised(tokens) * (1 + scale) + shift)
    shift, scale = affine("final_layer.adaLN_modulation.1", condition).chunk(2, dim=-1)
    patches = affine("final_layer.linear", standardised(tokens) * (1 + scale) + shift)
    side, p = peer.input_size // peer.patch_size, peer.patch_size
    squares = patches.unflatten(1, (side, side)).unflatten(-1, (p, p, peer.out_channels))
    return torch.einsum("bijpqc->bcipjq", squares).flatten(4, 5).flatten(2, 3)
