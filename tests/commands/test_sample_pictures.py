"""Pictures one by one: named after their classes, whatever those are called, and all in their folder."""

from pathlib import Path

import pytest
import torch

from triptych.commands.sample_pictures import Drawn, in_file_name, write_singles


def drawn(count: int) -> Drawn:
    return Drawn(torch.zeros(count, 3, 2, 2, dtype=torch.uint8), torch.arange(count), calls=1, seconds=0.0)


def test_names_of_classes_lead_out_of_no_folder(tmp_path: Path):
    names = [
        "apartment_building/outdoor",
        "../../x",
        "a\nb",
        'c:\\d*?"<>|',
        "图" * 100,
        "\ud800",
        "n: 3",
        "cat",
    ]
    write_singles(drawn(len(names)), names, tmp_path / "images")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == list((tmp_path / "images").iterdir())
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == [
        "00000-apartment_building-outdoor.png",
        "00001-..-..-x.png",
        "00002-a-b.png",
        "00003-c--d------.png",
        f"00004-{'图' * 66}.png",
        "00005--.png",
        "00006-n- 3.png",
        "00007-cat.png",
    ]


@pytest.mark.parametrize("name", ["cat", "图像 二", "_background", "(misc)", "1.5"])
def test_a_name_that_a_file_may_have_is_kept(name):
    assert in_file_name(name) == name
