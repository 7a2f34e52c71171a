"""Batches: every image once an epoch, a function of the step, across the ends of epochs."""

import torch

from triptych.data.batches import Batches
from triptych.data.dataset import ImageSet

N = 23


def image_set(count=N):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, 4, 4), generator=generator, dtype=torch.uint8)
    return ImageSet("noise/train", images, torch.arange(count) % 3, ("a", "b", "c"))


def test_every_image_is_seen_once_an_epoch():
    batches = Batches(image_set(), batch_size=5, seed=0)
    seen = torch.cat([batches.positions(step) for step in range(N)])  # N batches of 5: five whole epochs
    for epoch in seen.reshape(5, N):
        assert torch.equal(epoch.sort().values, torch.arange(N))
    assert len({tuple(epoch.tolist()) for epoch in seen.reshape(5, N)}) == 5


def test_a_batch_is_a_function_of_its_step():
    straight = Batches(image_set(), batch_size=5, seed=0, flip=True)
    forward = [straight.at(step) for step in range(20)]
    jumping = Batches(image_set(), batch_size=5, seed=0, flip=True)
    for step in (19, 3, 4, 0, 11):
        again = jumping.at(step)
        assert torch.equal(again.x0, forward[step].x0)
        assert torch.equal(again.labels, forward[step].labels)


def test_a_batch_may_be_larger_than_the_set():
    batches = Batches(image_set(), batch_size=3 * N, seed=0)
    assert torch.equal(batches.positions(0).bincount(), torch.full((N,), 3))


def test_pixels_and_labels_belong_together():
    data = image_set()
    batch = Batches(data, batch_size=7, seed=1).at(2)
    chosen = Batches(data, batch_size=7, seed=1).positions(2)
    assert torch.equal(batch.labels, data.labels[chosen])
    torch.testing.assert_close((batch.x0 + 1) * 127.5, data.images[chosen].float(), rtol=0, atol=1e-4)


def test_flips_mirror_half_of_the_images():
    data = image_set(2000)
    plain = Batches(data, batch_size=2000, seed=0).at(0)
    flipped = Batches(data, batch_size=2000, seed=0, flip=True).at(0)
    mirrored = (flipped.x0 == plain.x0.flip(-1)).flatten(1).all(1)
    same = (flipped.x0 == plain.x0).flatten(1).all(1)
    assert (mirrored | same).all()
    assert 900 < int(mirrored.sum()) < 1100


def test_salt_changes_flips_and_not_the_order():
    batches = Batches(image_set(), batch_size=N, seed=0, flip=True)
    assert torch.equal(batches.at(0, salt=0).labels, batches.at(0, salt=1).labels)
    assert not torch.equal(batches.at(0, salt=0).x0, batches.at(0, salt=1).x0)
