"""The layers of top recipes against float64 numpy, and what padding may change of them: nothing."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import spiketrain
from spiketrain.errors import DomainError, ShapeError
from spiketrain.layers.attention import SpikingSelfAttention, attend
from spiketrain.layers.dropout import Dropout
from spiketrain.layers.linear import conv, linear, recurrent
from spiketrain.layers.norm import BatchNorm, ThresholdBatchNorm
from spiketrain.layers.readout import PopulationReadout
from spiketrain.layers.sew import SEW
from spiketrain.layers.space import Pool, Reshape, pool
from spiketrain.state import SpikeTrain

from helpers import active, by_hand, equal

pytestmark = pytest.mark.usefixtures("dt")

T, B = 6, 4
LENGTHS = np.array([6, 3, 5, 1])
MASK = np.arange(T)[:, None] < LENGTHS
RNG = np.random.default_rng(0)
LIF = partial(spiketrain.LIF, tau=2.0, V_th=0.4)


def train(*size, mean=0.5, spikes=False):
    if spikes:
        return (RNG.random((T, B, *size)) < 0.4).astype(np.float32)
    return RNG.normal(mean, 2.0, (T, B, *size)).astype(np.float32)


def finite_gradient(layer, x, *masks):
    """Return the gradient of a weighted sum of the layer's output by its Params and by x; all of it is finite."""
    graphdef, params, rest = nnx.split(layer, nnx.Param, ...)
    out = jax.eval_shape(lambda rest, x: nnx.merge(graphdef, params, rest, copy=True)(x, *masks), rest, x)
    weight = np.random.default_rng(1).normal(size=out.shape).astype(np.float32)
    if masks:
        weight = np.where(MASK.reshape(T, B, *[1] * (weight.ndim - 2)), weight, 0)

    @jax.jit
    def gradient(params, x):
        def loss(params, x):
            return (nnx.merge(graphdef, params, rest, copy=True)(x, *masks) * weight).sum()

        return jax.grad(loss, (0, 1))(params, x)

    found = gradient(params, x)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    assert any(np.any(leaf) for leaf in jax.tree.leaves(found))
    return found


# Normalisation


@pytest.mark.parametrize("space", [(), (2, 2)])
@pytest.mark.parametrize("kind, gain", [(BatchNorm, 1.0), (partial(ThresholdBatchNorm, V_th=0.5, alpha=0.5), 0.25)])
def test_normalisation_is_that_of_the_valid_steps(kind, gain, space):
    layer, x = kind((*space, 3), momentum=0.8, rngs=nnx.Rngs(0)), train(*space, 3)
    bias = layer.bias if kind is BatchNorm else layer.shift
    bias[...] = jnp.array([0.5, -1.0, 2.0])
    layer.scale[...] = jnp.array([1.0, 2.0, 0.5])
    y = np.asarray(layer(jnp.asarray(x), jnp.asarray(MASK)))
    rows = x.astype(np.float64)[MASK].reshape(-1, 3)
    normed = (x - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-5)
    wanted = gain * normed * np.asarray(layer.scale[...], np.float64) + np.asarray(bias[...], np.float64)
    np.testing.assert_allclose(y[MASK], wanted[MASK], rtol=1e-4, atol=1e-5)
    assert (y[~MASK] == 0).all()
    equal(layer.mean[...], 0.2 * rows.mean(0), rtol=1e-5)
    equal(layer.var[...], 0.8 + 0.2 * rows.var(0), rtol=1e-5)
    layer.eval()
    mean, var = (np.asarray(v[...], np.float64) for v in (layer.mean, layer.var))
    wanted = gain * (x - mean) / np.sqrt(var + 1e-5) * np.asarray(layer.scale[...]) + np.asarray(bias[...])
    np.testing.assert_allclose(np.asarray(layer(jnp.asarray(x)))[MASK], wanted[MASK], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [BatchNorm, ThresholdBatchNorm])
@pytest.mark.parametrize("filler", [7.0, np.nan, np.inf])
def test_padding_changes_no_bit_of_a_normalisation_or_of_its_gradient(kind, filler):
    x = train(3)
    found = []
    for padding in (0.0, filler):
        layer = kind((3,), rngs=nnx.Rngs(0))
        dirty = jnp.asarray(np.where(MASK[..., None], x, np.float32(padding)))
        y = layer(dirty, jnp.asarray(MASK))
        found.append((y, layer.mean[...], layer.var[...], finite_gradient(layer, dirty, jnp.asarray(MASK))))
    for clean, dirty in zip(jax.tree.leaves(found[0]), jax.tree.leaves(found[1]), strict=True):
        np.testing.assert_array_equal(clean, dirty)
    assert (np.asarray(found[1][-1][1])[~MASK] == 0).all()


def test_a_threshold_normalised_drive_has_the_spread_of_the_threshold():
    y = ThresholdBatchNorm((3,), V_th=0.5, rngs=nnx.Rngs(0))(jnp.asarray(train(3)))
    np.testing.assert_allclose(np.std(y, (0, 1)), 0.5, rtol=1e-4)


def test_a_normalisation_refuses_pieces_in_training_alone():
    layer, x = BatchNorm((3,), rngs=nnx.Rngs(0)), jnp.asarray(train(3))
    with pytest.raises(spiketrain.StateError, match="whole trial"):
        spiketrain.advance(layer, None, x)
    layer.eval()
    equal(spiketrain.advance(layer, None, x)[0], layer(x), rtol=0)


# Dropout


@pytest.mark.parametrize("channels", [False, True])
def test_dropout_silences_a_neuron_for_a_trial_in_training_alone(channels):
    layer = Dropout((2, 3, 5), rate=0.4, channels=channels, rngs=nnx.Rngs(0))
    x = jnp.ones((T, B, 2, 3, 5))
    first, second = np.asarray(layer(x)), np.asarray(layer(x))
    assert set(np.unique(first)) == {0.0, np.float32(1 / 0.6)}
    assert (first == first[:1]).all() and (first != second).any() and (first[0, 0] != first[0, 1]).any()
    assert (first == first[:, :, :1, :1]).all() == channels
    by_step = Dropout((2, 3, 5), rate=0.4, channels=channels, rngs=nnx.Rngs(0))
    equal(by_hand(by_step, x, batch=(B,)), first, rtol=0)
    layer.eval()
    equal(layer(x), x, rtol=0)


def test_dropout_keeps_the_mean():
    layer = Dropout((5000,), rate=0.25, rngs=nnx.Rngs(0))
    assert float(layer(jnp.ones((1, 20, 5000))).mean()) == pytest.approx(1.0, abs=0.01)


# Space


def test_channels_first_is_undone():
    image = RNG.normal(size=(T, B, 2, 3, 4)).astype(np.float32)  # channels, height, width
    x = jnp.asarray(image.reshape(T, B, -1))
    np.testing.assert_array_equal(Reshape((3, 4, 2), True)(x), np.moveaxis(image, 2, -1))
    np.testing.assert_array_equal(Reshape((2, 3, 4))(x), image)


@pytest.mark.parametrize("take", ["mean", "max"])
def test_pooling_is_over_whole_windows(take):
    x = train(5, 4, 2, spikes=True) * train(5, 4, 2, spikes=True)
    got = pool((5, 4, 2), window=[2, 3], take=take, rngs=nnx.Rngs(0))(jnp.asarray(x))
    wanted = np.stack([getattr(np, take)(x[:, :, 2 * i : 2 * i + 2, :3], (2, 3)) for i in range(2)], 2)[:, :, :, None]
    np.testing.assert_allclose(got, wanted, rtol=1e-6)
    assert take == "mean" or set(np.unique(got)) == {0.0, 1.0}
    one = Pool((2,))(jnp.asarray(x[:, :, :, 0]))
    assert one.shape == (T, B, 2, 2)


# Residual blocks and attention


@pytest.mark.parametrize("join", ["add", "and", "iand"])
def test_a_residual_block_joins_spikes(join):
    layers = {"fc": partial(linear, features=3, scale=4.0), "norm": BatchNorm, "spikes": LIF}
    block, x = SEW((3,), layers=layers, join=join, rngs=nnx.Rngs(0)), train(3, spikes=True)
    y, seen = nnx.capture(SEW.__call__, SpikeTrain)(block, jnp.asarray(x), jnp.asarray(MASK))
    a = np.asarray(seen["spikes"]["spikes"].get_value()[0])
    active(a)
    wanted = {"add": a + x, "and": np.logical_and(a, x), "iand": np.logical_and(1 - a, x)}[join]
    np.testing.assert_array_equal(y, wanted)
    finite_gradient(block, jnp.asarray(x), jnp.asarray(MASK))


@pytest.mark.parametrize("join, identity", [("add", 0.0), ("iand", 0.0), ("and", 1.0)])
def test_a_residual_block_can_be_the_identity(join, identity):
    constant = {"constant": lambda in_size, rngs: lambda x: jnp.full_like(x, identity)}
    x = train(3, spikes=True)
    equal(SEW((3,), layers=constant, join=join, rngs=nnx.Rngs(0))(jnp.asarray(x)), x, rtol=0)


def test_a_shortcut_changes_the_shape_along_with_the_layers():
    down = {"conv": partial(conv, features=3, stride=2, scale=5.0), "spikes": LIF}
    with pytest.raises(ShapeError, match=r"end in one shape, got \(2, 2, 3\) and \(4, 4, 1\)"):
        SEW((4, 4, 1), layers=down, rngs=nnx.Rngs(0))
    block = SEW((4, 4, 1), layers=down, shortcut=down, rngs=nnx.Rngs(0))
    y = block(jnp.asarray(train(4, 4, 1, spikes=True)))
    assert block.out_size == y.shape[2:] == (2, 2, 3) and set(np.unique(y)) == {0.0, 1.0, 2.0}


@pytest.mark.parametrize("places, features", [(7, 2), (2, 7)])
def test_attention_counts_coincidences_exactly_in_either_order(places, features):
    q, k, v = (RNG.integers(0, 2, (2, places, 3, features)).astype(np.float32) for _ in range(3))
    wanted = np.stack([q[:, :, h] @ k[:, :, h].swapaxes(1, 2) @ v[:, :, h] for h in range(3)], 2)
    np.testing.assert_array_equal(attend(*map(jnp.asarray, (q, k, v))), wanted)
    assert np.ptp(wanted) > 0


def test_spiking_self_attention_is_its_equation():
    layer = SpikingSelfAttention((5, 4), heads=2, scale=2.0, neuron=LIF, rngs=nnx.Rngs(0))
    x = jnp.asarray(train(5, 4, spikes=True))
    y, seen = nnx.capture(SpikingSelfAttention.__call__, SpikeTrain)(layer, x, jnp.asarray(MASK))
    q, k, v = (np.asarray(seen[n]["spikes"]["spikes"].get_value()[0]) for n in ("query", "key", "value"))
    for spikes in (q, k, v, y):
        active(spikes)
    parts = [np.einsum("tbnd,tbmd,tbme->tbne", *(a[..., s] for a in (q, k, v))) for s in (slice(2), slice(2, 4))]
    attended = LIF((5, 4))(jnp.asarray(2.0 * np.concatenate(parts, -1)))
    active(attended)
    np.testing.assert_array_equal(seen["attended"]["spikes"].get_value()[0], attended)
    np.testing.assert_array_equal(layer.out.spikes(layer.out.norm(layer.out.linear(attended), jnp.asarray(MASK))), y)
    finite_gradient(layer, x, jnp.asarray(MASK))


# What else a stack is made of


def test_recurrent_weights_start_orthogonal_or_normal():
    for weight in ("orthogonal", "normal"):
        layer = recurrent((64,), weight=weight, scale=0.5, rngs=nnx.Rngs(0))
        w = np.asarray(layer.comm.weight.value, np.float64)
        assert np.std(w) * 8 == pytest.approx(0.5, rel=0.05)
        assert np.allclose(w @ w.T, 0.25 * np.eye(64), atol=1e-5) == (weight == "orthogonal")


def test_a_population_votes_for_its_class():
    layer = PopulationReadout((6,), 3, neuron=LIF, per_class=4, scale=3.0, rngs=nnx.Rngs(0))
    y, seen = nnx.capture(PopulationReadout.__call__, SpikeTrain)(layer, jnp.asarray(train(6, spikes=True)))
    spikes = np.asarray(seen["spiking"]["spikes"].get_value()[0])
    active(spikes)
    np.testing.assert_allclose(y, np.stack([spikes[..., 4 * c : 4 * c + 4].mean(-1) for c in range(3)], -1))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda r: BatchNorm((3,), momentum=1.0, rngs=r), r"BatchNorm\(momentum=...\) must lie in"),
        (lambda r: ThresholdBatchNorm((3,), epsilon=0.0, rngs=r), r"ThresholdBatchNorm\(epsilon=...\)"),
        (lambda r: ThresholdBatchNorm((3,), alpha=0.0, rngs=r), r"alpha \* V_th > 0"),
        (lambda r: Dropout((3,), rate=1.0, rngs=r), r"Dropout\(rate=...\)"),
        (lambda r: linear((3,), features=0, rngs=r), r"linear\(features=...\)"),
        (lambda r: conv((3, 3, 1), features=0, rngs=r), r"conv\(features=...\)"),
        (lambda r: recurrent((3,), weight="uniform", rngs=r), r'must be "normal" or "orthogonal"'),
        (lambda r: pool((4, 4, 1), take="sum", rngs=r), r'must be "mean" or "max"'),
        (lambda r: pool((4, 4, 1), window=5, rngs=r), r"window=...\) must fit"),
        (lambda r: SEW((3,), layers={}, join="or", rngs=r), r"SEW\(join=...\) must be one of add, and, iand"),
        (lambda r: SpikingSelfAttention((4,), rngs=r), r"takes places and features"),
        (lambda r: SpikingSelfAttention((4, 6), heads=4, rngs=r), r"must divide the 6 features"),
        (lambda r: PopulationReadout((3,), 2, per_class=0, rngs=r), r"per_class=...\) must be at least 1"),
    ],
)
def test_layers_refuse(make, message):
    with pytest.raises((DomainError, ShapeError), match=message):
        make(nnx.Rngs(0))
