"""Every case runs, in tiny, from its options to its table and its file."""

import json

import pytest

from benchmarks import operations
from benchmarks.__main__ import main
from benchmarks.cases import CASES
from benchmarks.comparison import Absent
from benchmarks.memory import unmeasurable
from benchmarks.session import chosen_cases
from triptych.commands.bench import BenchOptions

NETWORKS = {"triptych unet", "diffusers UNet2DModel", "improved-diffusion"}
NETWORKS |= {"triptych dit", "DiT, fused attention", "DiT, explicit softmax"}
AVERAGES = {"triptych", "torch AveragedModel", "diffusers EMAModel", "diffusers EMAModel, foreach"}
BOUNDED = {
    "unet-step": NETWORKS,
    "dit-step": NETWORKS,
    "dim-step": {"dit", "dim split", "dim alternating"},
    "weight-average": AVERAGES,
    "sampling-step": {"network alone"},
    "device-training": {f"{how} {layout}" for how in ("eager", "compiled") for layout in ("nchw", "nhwc")},
    "device-sampling": {"network alone", "plain", "recorded"},
}
"""Variants whose share of a ceiling is told, by case."""
REASONS = {
    "device-training": "--quick leaves the compiler out",
    "device-sampling": "a processor records no CUDA graph",
    "device-scan": " a GPU",
}
"""Why a variant may be absent, by case; of all others: as its peer is."""
ON_DEVICE = [name for name, case in CASES.items() if case.on_device]


@pytest.fixture
def measured(tmp_path, capsys):
    """Run in tiny, and return what is printed and what is written."""

    def measure(*options):
        assert main(["--quick", "--device", "cpu", "--json", str(tmp_path / "told.json"), *options]) == 0
        return capsys.readouterr().out, json.loads((tmp_path / "told.json").read_text())

    return measure


@pytest.mark.parametrize("name", CASES)
def test_every_variant_is_measured_or_said_to_be_absent(name, measured):
    out, told = measured("--only", name, "--no-memory")
    assert list(told["cases"]) == [name]
    for comparison in told["cases"][name]["comparisons"]:
        variants = {variant["name"]: variant for variant in comparison["variants"]}
        assert comparison["dtype"] == ("float64" if name == "frechet-step" else "float32")
        assert "rounds" not in comparison or f"{comparison['batch']}, {comparison['dtype']}, 2 rounds" in out
        assert comparison["batch"] > 0
        assert comparison["base"] in variants
        for variant in variants.values():
            assert variant["name"] in out
            if "absent" in variant:
                assert REASONS.get(name, "--peers") in variant["absent"]
            elif "rounds" in comparison:
                assert len(variant["times"]) == comparison["rounds"] == 2
                assert all(one > 0 for one in variant["times"])
                assert ("ratio" in variant) == (variant["name"] != comparison["base"])
                assert variant.get("difference", 0) < 1e-5
            bounded = name in BOUNDED and variant["name"] in BOUNDED[name]
            assert ("ceiling" in variant) == (bounded and "absent" not in variant)
            if name in ON_DEVICE and "absent" not in variant:
                rate = comparison["images"] / variant["milliseconds"]["median"] * 1000
                assert variant["facts"]["images/s"] == pytest.approx(rate)
                assert "images/s" in out
        assert comparison["device"] == "cpu"
        assert "(on the processor)" in out
        if name == "ssd-scan" and "rounds" in comparison:
            assert "difference" in variants["explicit softmax"]  # which is what attention computes


@pytest.mark.parametrize("words", [("s6-scan",), ("cost-growth", "--matching", "2 processes")])
def test_memory_is_measured_too(words, measured):
    out, told = measured("--only", *words)
    (comparison,) = told["cases"][words[0]]["comparisons"]
    ours, *_ = comparison["variants"]
    assert ("extra_bytes" in ours) == (not unmeasurable())
    assert (unmeasurable() or "resident set") in told["machine"]["memory"]
    assert "resident set" in out


def test_the_machine_is_measured_first(measured):
    out, told = measured("--only", "weight-average", "--no-memory")
    assert out.index("ceilings") < out.index("weight-average: ")
    assert list(told["ceilings"]) == ["product", "convolution", "trained convolution", "copy"]
    assert all(ceiling["median"] > 0 for ceiling in told["ceilings"].values())


def test_where_the_time_goes_is_told_when_asked(measured, monkeypatch):
    monkeypatch.setattr(operations, "MOST", 1000)  # on a busy machine anything may be among the first
    out, told = measured("--only", "dit-step", "--no-memory", "--profile")
    shares = told["cases"]["dit-step"]["comparisons"][0]["variants"][0]["shares"]
    assert sum(shares.values()) == pytest.approx(1)
    assert "addmm" in shares
    assert "time by operation: " in out


def test_a_session_is_held_against_an_earlier_one(measured, tmp_path):
    measured("--only", "weight-average", "--no-memory")
    then = tmp_path / "then.json"
    (tmp_path / "told.json").rename(then)
    out, _ = measured("--only", "weight-average", "--no-memory", "--against", str(then))
    assert "then and now" in out
    assert "weight-average, unet, batch 1: torch AveragedModel" in out
    assert "too few rounds" in out


def test_what_a_figure_depends_on_is_told(measured):
    out, told = measured("--only", "s6-scan", "--no-memory", "--plain-allocator", "--batch", "3")
    for title in ("date", "hardware", "device", "platform", "commit", "python", "torch", "threads", "dtype"):
        assert told["machine"][title]
        assert told["machine"][title] in out
    assert told["machine"]["allocator"] == "as the C library has it"
    assert "batch 3" in out


@pytest.mark.parametrize("name", ON_DEVICE)
def test_a_processor_is_given_nothing_that_would_take_hours(name, capsys):
    assert main(["--only", name, "--device", "cpu"]) == 2
    assert "a processor would take hours" in capsys.readouterr().err
    assert name not in chosen_cases(BenchOptions(device="cpu"))


def test_cases_and_their_comparisons_are_listed_and_not_measured(capsys):
    assert main(["--list", "--device", "cpu"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in told if not line.startswith(" ")] == list(CASES)
    assert "  training step, 32x32 pixels" in told


def test_ctrl_c_is_told_in_a_line_with_what_it_left(tmp_path, capsys, monkeypatch):
    def interrupted(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr("benchmarks.session.measured", interrupted)
    file = tmp_path / "told.json"
    assert main(["--quick", "--only", "s6-scan", "--device", "cpu", "--json", str(file)]) == 130
    assert capsys.readouterr().err == f"\nbenchmarks: interrupted; {file} has what was measured\n"
    assert json.loads(file.read_text())["ceilings"]


def test_only_comparisons_that_match_are_measured(measured):
    out, told = measured("--only", "device-training", "--matching", "dit,", "--no-memory")
    (comparison,) = told["cases"]["device-training"]["comparisons"]
    assert comparison["title"].startswith("dit, ")
    assert "unet, " not in out


@pytest.mark.parametrize("name", CASES)
def test_bases_are_there_and_so_is_what_a_variant_has_to_be_like(name):
    for options in (BenchOptions(device="cpu"), BenchOptions(device="cpu", quick=True)):
        for comparison in CASES[name].comparisons(options):
            there = [not isinstance(one.make, Absent) for one in comparison.variants.values()]
            # In full size a processor is given nothing of what is meant for a GPU.
            assert any(there) or (name in ON_DEVICE and not options.quick)
            assert not any(there) or not isinstance(comparison.variants[comparison.base].make, Absent)
            for variant in comparison.variants.values():
                assert variant.like == "" or variant.like in comparison.variants


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--only", "ssd-scam"), "choose from unet-step"),
        (("--only", "s6-scan", "--matching", "ssd"), "no comparison of these cases has that in its title"),
        (("--device", "gpu"), "choose from auto, cpu, cuda"),
        (("--rounds", "0"), "choose 1 or more"),
        (("--peers", "no/such/folder"), "no such folder"),
        (("--json", "no/such/folder/told.json"), "its folder does not exist"),
        (("--json", "."), "it is a folder"),
        (("--only",), "it names no case"),
        (("--against", "no/such/file.json"), "no such file"),
        (("--against", __file__), "it is no file of measurements"),
        (("--roundz", "3"), "perhaps you meant --rounds"),
    ],
)
def test_a_mistake_is_one_line(options, told, capsys):
    assert main(options) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("benchmarks: ")
    assert told in line
