"""Hidden trains: read with nnx.capture, stored only while captured."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import spiketrain as st

from helpers import active, equal, gradient, record
from models_table import LayeredNet, rows

pytestmark = pytest.mark.usefixtures("dt")

T, B = 30, 3
X = np.random.default_rng(0).normal(1.0, 1.0, (T, B, 5)).astype(np.float32)


def trains(captured):
    """Return the captured trains by their path."""
    found = {}
    for path, variable in nnx.to_flat_state(captured):
        (train,) = variable.get_raw_value()
        found["/".join(map(str, path))] = train
    return found


def variables(model):
    return {(path, type(variable)) for path, variable in nnx.to_flat_state(nnx.state(model))}


def test_the_hidden_spikes_of_every_layer_are_captured():
    model = LayeredNet()
    before = variables(model)
    expected = model(X)
    assert variables(model) == before  # an ordinary call stores nothing

    out, captured = nnx.capture(model, st.SpikeTrain)(X)

    hidden = trains(captured)
    assert set(hidden) == {"lif/spikes", "alif/spikes"}  # the readout has none
    lif = model.lif(4.0 * model.fc1(X))
    alif = model.alif(3.0 * model.fc2(lif))
    for name, spikes in (("lif/spikes", lif), ("alif/spikes", alif)):
        active(spikes)
        equal(hidden[name], spikes, rtol=0)
    equal(out, expected, rtol=0)
    assert variables(model) == before


def test_hidden_spikes_reach_a_loss_under_jit_and_grad():
    def rate(model):
        _, captured = nnx.capture(model, st.SpikeTrain)(X)
        return sum(spikes.mean() for spikes in trains(captured).values())

    def by_hand(model):
        lif = model.lif(4.0 * model.fc1(X))
        return lif.mean() + model.alif(3.0 * model.fc2(lif)).mean()

    model = LayeredNet()
    assert 0 < rate(model) < 2
    graphdef, leaves = nnx.split(model)
    equal(jax.jit(lambda leaves: rate(nnx.merge(graphdef, leaves)))(leaves), by_hand(model), rtol=1e-6)
    equal(nnx.jit(rate)(model), by_hand(model), rtol=1e-6)
    slope, expected = gradient(model, rate), gradient(model, by_hand)
    equal(slope, expected, rtol=1e-5)
    assert np.any(nnx.to_pure_dict(slope)["fc1"]["kernel"])


def test_two_kinds_are_captured_at_once():
    model = LayeredNet()
    _, spikes, states = nnx.capture(model, st.SpikeTrain, st.StateTrain)(X)
    hidden, states = trains(spikes), trains(states)
    assert set(hidden) == {"lif/spikes", "alif/spikes"}
    assert set(states) == {"lif/V", "alif/neuron/V", "alif/neuron/a", "readout/V"}
    active(hidden["lif/spikes"])
    equal(hidden["lif/spikes"], states["lif/V"] >= 1.0, rtol=0)


@pytest.mark.parametrize(
    "row", rows("ALIF-conductances", "Alpha-units", "Expon-COBA-LIF", "EI-circuit"), ids=lambda row: row.name
)
def test_every_State_of_a_trial_is_captured_as_it_is_when_stepping(row):
    inputs, model, hand = row.inputs(T, batch=(B,)), row.make(), row.make()
    out, recorded = record(model, *inputs)
    active(row, out)

    hand.init_state((B,))
    for n in range(6):
        hand.update(*jax.tree.map(lambda x, n=n: x[n], inputs))
        states = {
            "/".join(map(str, path)): s.value for path, s in nnx.to_flat_state(nnx.state(hand, st.ShortTermState))
        }
        assert set(states) == set(recorded)
        for name, value in states.items():
            equal(jax.tree.map(lambda train, n=n: train[n], recorded[name]), value, rtol=1e-4, what=name)


def test_capture_reaches_layers_in_lists():
    """nnx.capture marks lists, too, and such a list cannot be split by every version of flax."""

    class Net(nnx.Module):
        def __init__(self):
            self.layers = nnx.List([st.LIF(5, tau=5.0), nnx.List([st.ALIF(5, tau=5.0)])])

        def __call__(self, x):
            return self.layers[1][0](4.0 * self.layers[0](x))

    class Circuit(st.Dynamics):
        def __init__(self):
            self.cells, self.in_size = nnx.List([st.LIF(5, tau=5.0)]), (5,)

        @property
        def spikes(self):
            return self.cells[0].spikes

        def update(self, x):
            return self.cells[0].update(x)

    _, captured = nnx.capture(Net(), st.SpikeTrain)(X)
    assert set(trains(captured)) == {"layers/0/spikes", "layers/1/0/spikes"}
    out, captured = nnx.capture(Circuit(), st.SpikeTrain)(X)
    active(out)
    equal(trains(captured)["spikes"], out, rtol=0)


def test_noise_is_written_back_while_captured():
    model = st.LIF(5, tau=5.0, V_initializer=st.Uniform(0.0, 0.9), rngs=nnx.Rngs(0))
    first, _ = record(model, X)
    second, _ = record(model, X)
    active(first)
    assert not np.array_equal(first, second)


def test_a_projection_captures_its_synapse():
    row = rows("Projected-LIF")[0]
    model, inputs = row.make(), row.inputs(T, batch=(B,))
    out, recorded = record(model, *inputs)
    active(out)
    assert set(recorded) == {"projection/syn/g", "neuron/V"}
    equal(recorded["projection/syn/g"], model.projection(*inputs).g, rtol=0)


def test_pieces_hand_out_hidden_trains_from_inside():
    model = LayeredNet()

    def with_spikes(model, x):
        y, captured = nnx.capture(model, st.SpikeTrain)(x)
        return y, trains(captured)

    y, hidden = with_spikes(model, X)
    active(hidden["lif/spikes"])
    equal(st.unroll_in_pieces(model, X, steps=12, method=with_spikes), (y, hidden), rtol=1e-5)
    (first, some), carry = st.advance(model, None, X[:10], method=with_spikes)
    (second, more), _ = st.advance(model, carry, X[10:], method=with_spikes)
    equal(jnp.concatenate([first, second]), y, rtol=1e-5)
    equal({name: jnp.concatenate([some[name], more[name]]) for name in some}, hidden, rtol=0)


def test_a_capture_around_pieces_is_refused_with_a_remedy():
    with pytest.raises(st.StateError, match="Capture inside.*method=lambda model, xs: nnx.capture"):
        nnx.capture(lambda model: st.unroll_in_pieces(model, X, steps=10), st.SpikeTrain)(LayeredNet())
