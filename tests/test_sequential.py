"""A stack of named layers: its shapes, its order, its masks, its configuration, and a whole run of it."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from flax import nnx

import spiketrain
from spiketrain.config import build, registry
from spiketrain.config.check import check
from spiketrain.errors import ConfigError, ShapeError, StateError
from spiketrain.layers.stack import Stack, size_behind
from spiketrain.state import SpikeTrain
from spiketrain.training.run import train

from helpers import active, equal
from runs import ROOT, small

T, B, N = 9, 3, 24

LAYERS = {
    "image": {"name": "reshape", "size": [4, 6, 1]},
    "conv1": {"name": "conv", "features": 3, "scale": 3.0},
    "spikes1": {"name": "lif", "tau_ms": 4.0, "V_th": 0.5},
    "pool": {"window": 2},
    "flatten": None,
    "drop1": {"name": "dropout", "rate": 0.2},
    "fc2": {"name": "linear", "features": 5, "scale": 4.0},
    "batch_norm": {},
    "spikes2": {"name": "recurrent", "neuron": {"name": "alif", "tau_ms": 2.0, "V_th": 0.5}, "weight": "orthogonal"},
}


def section(layers, **more):
    return check({"model": {"name": "sequential", "layers": layers, **more}})["model"]


def model(layers, n_in=N, n_out=2, **more):
    return build.build("model", section(layers, **more), n_in, n_out, rngs=nnx.Rngs(0))


def trains(seed=0, n=N):
    return np.random.default_rng(seed).normal(1.0, 2.0, (T, B, n)).astype(np.float32)


pytestmark = pytest.mark.usefixtures("dt")


# What it computes


def test_every_layer_is_made_for_what_comes_before_it_and_runs_in_order():
    net = model(LAYERS)
    assert net.order == tuple(LAYERS)  # not in that of the alphabet
    net.drop1.eval()
    out, seen = nnx.capture(type(net).__call__, SpikeTrain)(net, trains())
    sizes = [(4, 6, 1), *[(4, 6, 3)] * 2, (2, 3, 3), (18,), (18,), (5,), (5,), (5,)]
    y = trains()
    for name, size in zip(net.order, sizes, strict=True):
        y = getattr(net, name)(y)
        assert y.shape == (T, B, *size), name
        if name.startswith("spikes"):
            active(y)
            equal(seen[name]["spikes"].get_value()[0], y, rtol=0)
    equal(net.readout(y), out, rtol=1e-6)


def test_what_is_made_holds_no_tracer_and_no_statistics_of_the_abstract_call():
    net = model(LAYERS)
    leaves = jax.tree.leaves(nnx.state(net))
    assert leaves and not any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)
    equal(net.batch_norm.mean[...], np.zeros(5), rtol=0)


def test_the_mask_reaches_the_layers_that_average_and_nothing_else():
    mask = np.arange(T)[:, None] < np.array([9, 4, 2])
    x = trains()
    dirty = np.where(mask[..., None], x, np.float32(1e6))
    layers = {"image": LAYERS["image"], "norm1": {"name": "threshold_batch_norm"}, "flatten": {}}
    clean, other, blind = model(layers), model(layers), model(layers)
    first = clean(np.where(mask[..., None], x, 0), jnp.asarray(mask))
    second = other(dirty, jnp.asarray(mask))
    np.testing.assert_array_equal(np.asarray(first)[mask], np.asarray(second)[mask])
    equal(clean.norm1.var[...], other.norm1.var[...], rtol=0)
    blind(np.where(mask[..., None], x, 0))
    assert not np.allclose(blind.norm1.var[...], clean.norm1.var[...])
    assert clean.takes_mask and not model({"spikes1": "lif"}).takes_mask


@pytest.mark.parametrize("readout", registry.names("readout"))
def test_every_readout_ends_in_one_train_per_class(readout):
    net = model({"fc1": {"name": "linear", "features": 4, "scale": 4.0}, "lif": {}}, readout=readout, n_out=3)
    assert size_behind(net, (N,)) == (3,)


def test_a_stack_runs_in_pieces():
    layers = {name: LAYERS[name] for name in ("drop1", "fc2", "spikes2")}
    net, same = model(layers), model(layers)
    x = trains()
    whole = net(x)
    pieces, carry = [], None
    for piece in (x[:3], x[3:6], x[6:]):
        y, carry = spiketrain.advance(same, carry, piece)
        pieces.append(y)
    assert np.ptp(whole) > 0
    equal(jnp.concatenate(pieces), whole, rtol=1e-6)  # one dropout mask for all pieces


SPACE = ("image", "conv1", "spikes1", "pool", "flatten", "drop1")
WINDOW = {"temporal_conv": {"features": 5}, "sliding_psn": {}, "high_pass": {}}
SEW = {"sew": {"layers": {"fc": {"name": "linear", "features": 5}, "lif": {}}}}
ATTENTION = {"spiking_self_attention": {"heads": 2, "neuron": {"name": "lif", "V_th": 0.05}}}
STACKS = {
    "space": ({name: LAYERS[name] for name in SPACE}, {"name": "population", "per_class": 2, "scale": 4.0}),
    "window": (WINDOW | SEW, "linear"),
    "places": ({"places": {"name": "reshape", "size": [4, 6]}} | ATTENTION | {"flatten": {}}, "linear"),
}


@pytest.mark.parametrize("layers, readout", STACKS.values(), ids=STACKS)
def test_layers_of_every_kind_run_in_pieces(layers, readout):
    net, same = model(layers, readout=readout), model(layers, readout=readout)
    if "places" in layers:  # attention has normalisations, which see the whole trial in training
        net.eval()
        same.eval()
    whole = net(trains())
    assert np.ptp(whole) > 0
    equal(spiketrain.unroll_in_pieces(same, trains(), steps=4), whole, rtol=1e-5)


def test_without_a_time_step_the_error_says_what_to_write():
    with spiketrain.environ._dt_seconds(None), pytest.raises(StateError, match=r"lif'.*environ.context"):
        model({"lif": {}})


@pytest.mark.parametrize(
    "layers, message",
    [
        ({"conv1": {"name": "conv"}}, r"Sequential\(layers=\{'conv1'.*conv needs an input with axes of space.*reshape"),
        ({"image": {"name": "reshape", "size": [5, 5]}}, r"'image'.*24 places in all.*got \[5, 5\]"),
        ({"image": {"name": "reshape", "size": [4, 6, 1]}}, r"the readout of.*Put a `flatten` layer"),
        ({"image": {"name": "reshape", "size": [4, 6, 1]}, "recurrent": {}}, r"'recurrent'.*Put a `flatten` layer"),
        ({"pool": {}}, r"'pool'.*Put a `reshape` layer"),
        ({"through": {"name": "lif"}}, r"'through'.*cannot be that of a layer"),
        ({"readout": {"name": "lif"}}, r"'readout'.*cannot be that of a layer"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_name_of_its_layer(layers, message):
    with pytest.raises((ShapeError, ConfigError, spiketrain.DomainError), match=message):
        model(layers)


def test_a_layer_keeps_time_and_trials():
    with pytest.raises(ShapeError, match=r"Stack\(layers=\{'half'.*the same T and B"):
        Stack((4,), layers={"half": lambda in_size, rngs: lambda x: x[::2]}, rngs=nnx.Rngs(0))


# Its configuration


@pytest.mark.parametrize(
    "layers, message",
    [
        ({"fc1": {"name": "liner"}}, r"^model.layers.fc1.name = 'liner' is no layer. Did you mean `linear`\?.*alif"),
        (
            {"fc1": {"name": "linear", "feature": 3}},
            r"^model.layers.fc1.feature .*Did you mean `model.layers.fc1.features`",
        ),
        ({"linaer": {"features": 3}}, r"^model.layers.linaer must say which layer.*Did you mean `linear`\?"),
        ({"spikes": {"name": "lif", "tau": 3}}, r"Did you mean `model.layers.spikes.tau_ms`"),
        ({"fc1": "conv2d"}, r"^model.layers.fc1.name = 'conv2d'.*Did you mean `conv`"),
        ({"fc 1": {"name": "linear"}}, r"'fc 1' must be a word"),
        ({3: {"name": "linear"}}, r"3 must be a word"),
        ([{"name": "linear"}], r"^model.layers must be a mapping"),
        ({"fc1": 3}, r"^model.layers.fc1 must say which layer, got 3"),
    ],
)
def test_typos_are_answered_before_anything_is_built(layers, message):
    with pytest.raises(ConfigError, match=message):
        section(layers)


def test_the_stacks_of_the_docs_pass_the_check():
    text = (ROOT / "docs" / "recipes.md").read_text()
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    assert len(blocks) == 2
    for block in blocks:
        assert list(section(**block["model"])["layers"]) == list(block["model"]["layers"])


def test_a_checked_stack_survives_a_round_trip_in_its_order():
    config = section(LAYERS)
    again = check({"model": json.loads(json.dumps(config))})["model"]
    assert again == config and list(again["layers"]) == list(LAYERS)


def test_a_layer_of_ones_own_is_registered(monkeypatch):
    monkeypatch.setattr(registry, "_ENTRIES", {kind: dict(names) for kind, names in registry._ENTRIES.items()})

    @spiketrain.register("layer", "times")
    def times(in_size, *, factor: float = 2.0, rngs):
        return lambda x: factor * x

    net = model({"times": {"factor": 3.0}}, readout="linear")
    equal(net.through(trains()), 3.0 * trains(), rtol=0)
    with pytest.raises(ConfigError, match="taken"):
        spiketrain.register("neuron", "times")(spiketrain.IF)


def test_a_stack_is_trained_evaluated_and_recorded(tmp_path, data):
    layers = {
        "fc1": {"name": "linear", "features": 6, "scale": 6.0},
        "batch_norm": {},
        "spikes1": {"name": "lif", "tau_ms": 5.0},
        "dropout": {"rate": 0.2},
    }
    augmentations = {"event_drop": {}, "cut_mix": {}}
    model = {"name": "sequential", "layers": layers}
    config = small(data, model=model, trainer__epochs=1, augmentations=augmentations)
    folder, result = train(config, tmp_path / "run")
    assert result["test"]["rate_hz/spikes1"] > 0 and 0 <= result["test"]["accuracy"] <= 1
    assert list(
        json.loads(next(folder.glob("checkpoints/*/meta.json")).read_text())["config"]["model"]["layers"]
    ) == list(layers)
