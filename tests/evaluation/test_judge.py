"""What a judge is asked before any image is drawn."""

import pytest
import torch

from triptych.data import digits
from triptych.data.dataset import ImageSet
from triptych.errors import UserError
from triptych.evaluation.judge import balanced_count


@pytest.fixture(scope="module")
def held_out() -> ImageSet:
    return digits.load().held_out


def without(images: ImageSet, *labels: int) -> ImageSet:
    """Return the images of all other classes."""
    return images.take((~torch.isin(images.labels, torch.tensor(labels))).nonzero().flatten())


def test_as_many_of_each_class_as_the_rarest_has(held_out: ImageSet):
    rarest = min((held_out.labels == label).sum().item() for label in range(10))
    assert balanced_count(held_out, 10) == 10 * rarest
    assert balanced_count(held_out, 0) == len(held_out)


def test_classes_without_real_images_are_named(held_out: ImageSet):
    with pytest.raises(UserError, match=r"of class '3'; .*--count"):
        balanced_count(without(held_out, 3), 10)
    with pytest.raises(UserError, match=r"of class '3', '4', '5', \.\.\.; say how many"):
        balanced_count(without(held_out, 3, 4, 5, 9), 10)  # the last class too, whose label does not occur
    assert balanced_count(without(held_out, 3), 0) == len(without(held_out, 3))
