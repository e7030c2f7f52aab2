"""Callbacks that watch a metric: when they act is a function of the measurements alone, across a resume too."""

import json
import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from spiketrain.cli.train import config_folder
from spiketrain.config import build, registry
from spiketrain.config.check import check
from spiketrain.errors import ConfigError
from spiketrain.training.early_stopping import EarlyStopping
from spiketrain.training.plateau import Plateau


class Run:
    """What a callback sees of a trainer."""

    def __init__(self, *splits):
        self.splits = dict.fromkeys(splits or ("train", "validation", "test"))
        self.reasons, self.rate = [], 1.0

    def stop(self, reason):
        self.reasons.append(reason)

    def multiply_rate(self, factor):
        self.rate *= factor


losses = st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.05, 2.0, math.nan, math.inf]), max_size=12)


def acted(values, patience, min_delta=0.0):
    """Return after which measurement the best was longer ago than patience allows, by looking back."""
    for n in range(1, len(values) + 1):
        best, at = math.inf, 0
        for i, value in enumerate(values[:n], 1):
            if value < best - min_delta or (at == 0 and not math.isnan(value)):
                best, at = value, i
        if n - at >= patience:
            return n
    return None


@given(values=losses, patience=st.integers(1, 4), min_delta=st.sampled_from([0.0, 0.1]), cut=st.integers(0, 12))
def test_early_stopping_stops_when_the_best_is_long_ago_and_a_resume_changes_nothing(values, patience, min_delta, cut):
    first, stopping = None, EarlyStopping(patience=patience, min_delta=min_delta)
    for n, value in enumerate(values, 1):
        if n == cut:
            state, stopping = (
                json.loads(json.dumps(stopping.state())),
                EarlyStopping(patience=patience, min_delta=min_delta),
            )
            stopping.load(state)
        run = Run()
        stopping.on_log(run, {"loss": -n})
        stopping.on_evaluation(run, "test", {"loss": -n})
        stopping.on_evaluation(run, "validation", {"loss": value, "accuracy": 0.0})
        if run.reasons and first is None:
            first = n
    assert first == acted(values, patience, min_delta)


def test_an_accuracy_is_better_the_higher_it_is():
    run, stopping = Run(), EarlyStopping(monitor="validation/accuracy", patience=2)
    for accuracy in (0.1, 0.2, 0.3, 0.3, 0.2):
        assert not run.reasons
        stopping.on_evaluation(run, "validation", {"accuracy": accuracy})
    assert run.reasons == ["validation/accuracy has not improved on 0.3 for 2 measurements"]


def test_training_can_be_watched_and_any_metric_with_a_mode():
    run, stopping = Run("train", "test"), EarlyStopping(monitor="train/rate_hz/spiking/0", mode="min", patience=1)
    stopping.on_start(run)
    for rate in (3.0, 3.0):
        stopping.on_evaluation(run, "validation", {"rate_hz/spiking/0": 9.0})
        stopping.on_log(run, {"rate_hz/spiking/0": rate})
    assert len(run.reasons) == 1


@given(values=losses, patience=st.integers(1, 3), cut=st.integers(0, 12), least=st.sampled_from([0.0, 0.1, 0.25]))
def test_a_plateau_lowers_the_rate_at_each_end_of_patience_down_to_the_least(values, patience, cut, least):
    run, plateau = Run(), Plateau(patience=patience, factor=0.5, least=least)
    rate, best, since = 1.0, None, 0
    for n, value in enumerate(values, 1):
        if n == cut:
            state, plateau = json.loads(json.dumps(plateau.state())), Plateau(patience=patience, least=least)
            plateau.load(state)
        plateau.on_evaluation(run, "validation", {"loss": value})
        if value < (math.inf if best is None else best) or (best is None and value == math.inf):
            best, since = value, 0
        else:
            since += 1
        if since == patience:
            rate, since = max(rate / 2, least), 0
        assert run.rate == pytest.approx(rate, rel=1e-12)
    assert not run.reasons


@pytest.mark.parametrize(
    "make, arguments, message",
    [
        (EarlyStopping, {"monitor": "loss"}, r"^EarlyStopping\(monitor=...\) must name a metric of training or valid"),
        (EarlyStopping, {"monitor": "test/loss"}, r"^EarlyStopping\(monitor=...\) must name"),
        (
            EarlyStopping,
            {"monitor": "train/x"},
            r"^EarlyStopping\(mode=...\) must be `min` or `max` for 'train/x', got N",
        ),
        (EarlyStopping, {"mode": "least"}, r"^EarlyStopping\(mode=...\) must be `min` or `max`"),
        (EarlyStopping, {"patience": 0}, r"^EarlyStopping\(patience=...\) must be at least 1, got 0"),
        (EarlyStopping, {"min_delta": -1.0}, r"^EarlyStopping\(min_delta=...\) must not be negative, got -1.0"),
        (Plateau, {"patience": 0}, r"^Plateau\(patience=...\) must be at least 1, got 0"),
        (Plateau, {"factor": 1.0}, r"^Plateau\(factor=...\) must lie between 0 and 1, got 1.0"),
        (Plateau, {"least": 1.0}, r"^Plateau\(least=...\) must lie in \[0, 1\), got 1.0"),
    ],
)
def test_what_has_no_sense_is_refused(make, arguments, message):
    with pytest.raises(ConfigError, match=message):
        make(**arguments)


def test_a_metric_that_is_never_measured_is_refused():
    with pytest.raises(
        ConfigError, match=r"^EarlyStopping\(monitor='validation/loss'\): this run has no validation tri"
    ):
        EarlyStopping().on_start(Run("train", "test"))
    stopping = EarlyStopping(monitor="validation/acuracy", mode="max")
    with pytest.raises(
        ConfigError, match=r"no such metric. Did you mean `validation/accuracy`\? It has accuracy, loss"
    ):
        stopping.on_evaluation(Run(), "validation", {"loss": 1.0, "accuracy": 0.5})


@pytest.mark.parametrize("name", ["early_stopping", "plateau"])
def test_the_settings_in_yaml_are_those_of_the_callback(name):
    given = yaml.safe_load((config_folder() / "callbacks" / f"{name}.yaml").read_text())
    assert given == {name: registry.lookup("callback", name, "callbacks").defaults()}
    made = build.build("callback", {"name": name, **check({"callbacks": given})["callbacks"][name]})
    assert (made.monitor, made.patience, made.mode) == ("validation/loss", 10, "min")
