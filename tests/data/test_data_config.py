"""A data set is loaded as its configuration says."""

from triptych.data import DATASETS, DataConfig
from triptych.data.digits import load


def test_a_data_set_sees_its_configuration(monkeypatch):
    seen = []
    monkeypatch.setitem(DATASETS, "mine", lambda config: seen.append(config) or load())
    config = DataConfig("mine", flip=True)
    assert config.load().name == "digits"
    assert seen == [config]
