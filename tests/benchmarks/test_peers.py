"""Peers are loaded file by file; what stands in for timm's layers does what they do."""

import sys

import pytest
import torch
import torch.nn.functional as F

from benchmarks import peers, timm_stand_in
from benchmarks.cases.dit_step import comparisons
from benchmarks.comparison import Absent
from benchmarks.timm_stand_in import Attention, Mlp, PatchEmbed
from triptych.commands.bench import BenchOptions

NETWORK = """
from torch import nn
from timm.models.vision_transformer import Attention, Mlp, PatchEmbed

class DiT(nn.Module):
    def __init__(self, input_size, patch_size, in_channels, hidden_size, num_heads, **others):
        super().__init__()
        self.embed = PatchEmbed(input_size, patch_size, in_channels, hidden_size, bias=True)
        self.blocks = nn.ModuleList([nn.Module()])
        self.blocks[0].attn = Attention(hidden_size, num_heads=num_heads, qkv_bias=True)
        self.mlp = Mlp(in_features=hidden_size, hidden_features=8, act_layer=nn.GELU, drop=0)
        self.out = nn.Linear(hidden_size, 1)

    def forward(self, x, t, y):
        return x * self.out(self.mlp(self.blocks[0].attn(self.embed(x)))).mean()
"""


@pytest.fixture
def no_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)


def in_repository(folder, path, text):
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize(
    "load", [peers.dit, peers.improved_diffusion, peers.mamba_py, peers.selective_scan_ref, peers.ssd_minimal]
)
def test_an_absent_peer_is_told_apart_from_absent_peers(load, tmp_path):
    assert "--peers" in load(None).why
    assert str(tmp_path) in load(tmp_path).why


def test_what_a_file_lacks_is_named(tmp_path):
    in_repository(tmp_path, "mamba/mamba_ssm/modules/ssd_minimal.py", "import no_such_package")
    assert "needs no_such_package, which is not installed" in peers.ssd_minimal(tmp_path).why


def test_a_file_that_breaks_says_how(tmp_path):
    in_repository(tmp_path, "DiT/models.py", "raise ValueError('of the stars')")
    assert "ValueError: of the stars" in peers.dit(tmp_path).why


def test_stand_ins_are_there_while_a_file_is_loaded_and_no_longer(tmp_path):
    text = "from mamba_ssm.utils.torch import custom_fwd\n@custom_fwd\ndef scan(): return 7\n"
    in_repository(tmp_path, "mamba/mamba_ssm/ops/selective_scan_interface.py", text)
    before = set(sys.modules)
    assert peers.selective_scan_ref(tmp_path).module.scan() == 7
    assert set(sys.modules) == before


def in_torch_fidelity(folder, texts):
    for name in peers.TORCH_FIDELITY:
        in_repository(folder, f"{name}.py", texts.get(name, ""))


def test_torch_fidelity_is_read_from_a_checkout_where_there_is_one(tmp_path):
    last = peers.TORCH_FIDELITY[-1]
    texts = {"helpers": "seven = 7", last: "from torch_fidelity.helpers import seven"}
    in_torch_fidelity(tmp_path / "torch-fidelity" / "torch_fidelity", texts)
    before = set(sys.modules)
    found = peers.torch_fidelity(tmp_path)
    assert found.module.seven == 7
    assert f"torch-fidelity/torch_fidelity/{last}.py, sha256 " in found.note
    assert set(sys.modules) == before


def test_torch_fidelity_is_read_from_where_the_set_up_puts_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    for folder in (None, tmp_path):
        assert "none in" in peers.torch_fidelity(folder).why
    apart = tmp_path / peers.APART_FOLDER
    in_torch_fidelity(apart / "torch_fidelity", {})
    in_repository(apart, "torch_fidelity-0.4.7.dist-info/METADATA", "Name: torch-fidelity\nVersion: 0.4.7\n")
    for folder in (None, tmp_path):
        assert peers.torch_fidelity(folder).note.endswith("; release 0.4.7")


def test_nothing_of_torch_fidelity_is_run_but_what_is_listed(tmp_path):
    texts = {peers.TORCH_FIDELITY[-1]: "import torch_fidelity.metrics"}
    in_torch_fidelity(tmp_path / "torch-fidelity" / "torch_fidelity", texts)
    assert "needs torch_fidelity.metrics, which is not installed" in peers.torch_fidelity(tmp_path).why


def test_a_network_on_stand_ins_is_measured_and_said_to_be(tmp_path, no_timm):
    in_repository(tmp_path, "DiT/models.py", NETWORK)
    (comparison,) = comparisons(BenchOptions(quick=True, peers=tmp_path))
    theirs = [variant for name, variant in comparison.variants.items() if name != comparison.base]
    assert len(theirs) == 2
    for variant in theirs:
        assert not isinstance(variant.make, Absent)
        assert variant.make()() == ()
        assert timm_stand_in.NOTE in variant.note
        assert variant.facts()["M parameters"] > 0


def test_fused_attention_and_its_steps_agree():
    layer, x = Attention(24, num_heads=3, qkv_bias=True), torch.randn(2, 5, 24)
    fused = layer(x)
    layer.fused_attn = False
    torch.testing.assert_close(layer(x), fused)
    q, k, v = (t.view(2, 5, 3, 8).transpose(1, 2) for t in layer.qkv(x).chunk(3, dim=2))
    weights = torch.softmax(q @ k.mT / 8**0.5, dim=-1)
    torch.testing.assert_close(layer.proj((weights @ v).transpose(1, 2).flatten(2)), fused)


def test_patches_are_projected_one_by_one():
    layer, x = PatchEmbed(6, 2, 3, 8), torch.randn(2, 3, 6, 6)
    patches = F.unfold(x, 2, stride=2).mT  # B N 3*2*2
    torch.testing.assert_close(layer(x), patches @ layer.proj.weight.flatten(1).T + layer.proj.bias)
    assert layer.num_patches == layer(x).shape[1]


def test_the_perceptron():
    layer, x = Mlp(4, 8, act_layer=torch.nn.ReLU), torch.randn(3, 4)
    torch.testing.assert_close(layer(x), layer.fc2(layer.fc1(x).clamp(min=0)))


def test_a_file_finds_what_it_imports_from_beside_itself(tmp_path):
    in_repository(tmp_path, "improved-diffusion/improved_diffusion/nn.py", "WIDTH = 7")
    lines = ["from .fp16_util import convert", "from .nn import WIDTH", "class UNetModel: width = WIDTH"]
    in_repository(tmp_path, "improved-diffusion/improved_diffusion/unet.py", "\n".join(lines))
    assert peers.improved_diffusion(tmp_path).module.UNetModel.width == 7
    assert "benchmarks.nn" not in sys.modules


def test_diffusers_is_absent_where_it_cannot_be_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    assert "pip install diffusers" in peers.diffusers().why
