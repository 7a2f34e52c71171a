"""Features of a model's images: whatever is drawn ahead, they are the same, and so is what they took."""

import time

import pytest
import torch
from backbones.small import SMALL, awake
from evaluation.stand_in import WIDTHS, Counted

from triptych.denoiser import Denoiser
from triptych.diffusion.predictions import PREDICTIONS
from triptych.diffusion.schedules import SCHEDULES
from triptych.distributed import ALONE
from triptych.evaluation.drawing import SEPARATOR, draw_features
from triptych.generation import Request
from triptych.lanes import Lane, Moment
from triptych.metrics.feature_store import FeatureStore
from triptych.sampling import named_sampler

REQUEST = Request(10, 1.0, named_sampler("ddim:2"), batch_size=3)


@pytest.fixture(scope="module")
def denoiser():
    torch.manual_seed(0)
    return Denoiser(awake(SMALL["dit"].build(1, 8, 3)), SCHEDULES["cosine"](), PREDICTIONS["v"])


def store_in(folder):
    widths = {f"classifier{SEPARATOR}{name}": width for name, width in WIDTHS.items()}
    return FeatureStore(folder, widths, REQUEST.count, REQUEST.batch_size, "of a test")


def drawn(denoiser, folder, extractor=None, **options):
    store = store_in(folder)
    draw_features(denoiser, REQUEST, {"classifier": extractor or Counted()}, store, ALONE, **options)
    return store


def test_what_is_drawn_ahead_changes_nothing_but_the_time(denoiser, tmp_path):
    seen = []
    start = time.perf_counter()
    wanted = drawn(denoiser, tmp_path / "in-turn")
    took = time.perf_counter() - start
    assert 0 < sum(spent.drawing + spent.measuring for spent in wanted.spent.values()) <= took
    for ahead in (1, 2, 9):
        seen.clear()
        start = time.perf_counter()
        found = drawn(denoiser, tmp_path / str(ahead), watch=lambda batch: seen.append(batch), ahead=ahead)
        took = time.perf_counter() - start
        assert 0 < sum(spent.drawing + spent.measuring for spent in found.spent.values()) <= took
        assert [batch.index.tolist() for batch in seen] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
        assert {batch: spent.calls for batch, spent in found.spent.items()} == dict.fromkeys(range(4), 2)
        for name, rows in wanted.rows().items():
            assert torch.equal(found.rows()[name], rows)


@pytest.mark.parametrize(("ahead", "kept"), [(0, [0, 1]), (1, [0])])
def test_what_is_under_way_is_lost_with_what_stops_it(denoiser, tmp_path, ahead, kept):
    class Interrupted(Counted):
        def __call__(self, images):
            if self.images == 6:
                raise KeyboardInterrupt
            return super().__call__(images)

    with pytest.raises(KeyboardInterrupt):
        drawn(denoiser, tmp_path / "rows", Interrupted(), ahead=ahead)
    store = store_in(tmp_path / "rows")
    assert store.read() == [batch for batch in range(4) if batch not in kept]
    again = Counted()
    drawn(denoiser, tmp_path / "rows", again, ahead=ahead)
    assert again.images == REQUEST.count - 3 * len(kept)


def test_a_processor_does_everything_in_turn():
    device = torch.device("cpu")
    lane, first = Lane(device), Moment(device)
    assert not lane.beside
    with lane.after(torch.ones(2)):
        time.sleep(0.01)
        second = Moment(device)
    assert 0.01 <= second.since(first) < 10
