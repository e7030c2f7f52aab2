"""What a trained model is asked afterwards: predictions, disturbances, operations, and how they are written down."""

import csv
import json
import math

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as some

import spiketrain as st
from spiketrain import metrics
from spiketrain.errors import DomainError
from spiketrain.training import disturbances, operations, report
from spiketrain.training.evaluation import Evaluation, sweep

from runs import dataset

pytestmark = pytest.mark.usefixtures("one_ms")

SMALL = dataset()


class Net(nnx.Module):
    """Three channels, six recurrent LIFs, two classes."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.fc1 = nnx.Linear(3, 6, kernel_init=nnx.initializers.normal(4.0), rngs=rngs)
        weight = st.Trainable(nnx.initializers.normal(1.0))
        self.hidden = st.Recurrent(st.LIF(6, tau=5.0), weight=weight, rngs=rngs)
        self.fc2 = nnx.Linear(6, 2, kernel_init=nnx.initializers.normal(2.0), rngs=rngs)
        self.readout = st.LeakyIntegrator(2)

    def __call__(self, x):
        return self.readout(self.fc2(self.hidden(self.fc1(x))))


class Binary:
    """An encoder of spikes: one where a value is positive."""

    def __call__(self, x, mask, key=None):
        return ((x > 0) & mask[..., None]).astype(x.dtype), mask


@pytest.fixture(scope="module")
def net():
    return Net()


@pytest.fixture(scope="module")
def analog(net):
    return Evaluation(net, SMALL.test)


@pytest.fixture(scope="module")
def spiking(net):
    return Evaluation(net, SMALL.test, encoder=Binary())


def simulated(net, frames):
    """Return the spikes and the readout of one trial `(T, 3)`, simulated in float64."""
    W1, b1, R, W2, b2 = (
        np.asarray(x.get_raw_value(), float)
        for x in (net.fc1.kernel, net.fc1.bias, net.hidden.comm.weight, net.fc2.kernel, net.fc2.bias)
    )
    V, s, U, trains, outputs = np.zeros(6), np.zeros(6), np.zeros(2), [], []
    for frame in frames.astype(float):
        I = frame @ W1 + b1 + s @ R
        V = I + (V - s - I) * math.exp(-1 / 5)
        s = (V >= 1).astype(float)
        J = s @ W2 + b2
        U = J + (U - J) * math.exp(-1 / 20)
        trains.append(s)
        outputs.append(U)
    return np.array(trains), np.array(outputs)


def trials(split, encode=lambda x: x):
    return [encode(x[:length]) for x, length in zip(split.x, split.lengths, strict=True)]


# Predictions


def test_predictions_are_those_of_each_trial_by_itself(net, analog):
    found = analog.predict()
    spikes = 0
    for frames, logits, loss, label in zip(trials(SMALL.test), found.logits, found.losses, SMALL.test.y, strict=True):
        train, out = simulated(net, frames)
        spikes += train.sum()
        scores = out.mean(0)
        np.testing.assert_allclose(logits, scores, rtol=1e-4, atol=1e-5)
        assert loss == pytest.approx(np.log(np.exp(scores).sum()) - scores[label], rel=1e-4)
    assert 10 < spikes < 0.9 * 6 * SMALL.test.lengths.sum()
    assert 0 < found.accuracy < 1 or len(set(found.predicted)) > 1
    np.testing.assert_allclose(found.probabilities.sum(1), 1)
    np.testing.assert_allclose(np.log(found.probabilities[np.arange(10), found.labels]), -found.losses, rtol=1e-5)


def test_neither_the_batch_size_nor_pieces_change_what_is_found(net, analog, spiking):
    pieces = Evaluation(net, SMALL.test, batch_size=4, piece_steps=3)
    batches = Evaluation(net, SMALL.test, batch_size=4, encoder=Binary())
    for whole, other, kind, value in ((analog, pieces, "drop", 0.3), (spiking, batches, "jitter_ms", 2.0)):
        a, b = whole.disturbed(kind, value, seed=3), other.disturbed(kind, value, seed=3)
        np.testing.assert_allclose(a.logits, b.logits, rtol=1e-4, atol=1e-5)
        assert not np.allclose(a.logits, whole.predict().logits, atol=1e-2)
    assert pieces.operations() == analog.operations()


def test_nothing_is_disturbed_by_nothing(analog, spiking):
    for evaluation, kinds in (
        (analog, {"noise": 0, "drop": 0, "bits": 24, "dt_ms": 1.0}),
        (spiking, {"flip": 0, "jitter_ms": 0, "dt_ms": 1.0}),
    ):
        for kind, value in kinds.items():
            found = evaluation.disturbed(kind, value).logits
            np.testing.assert_allclose(found, evaluation.predict().logits, rtol=1e-4, atol=1e-5, err_msg=kind)


def test_what_is_drawn_is_a_function_of_the_seed(analog):
    first, again, other = (analog.disturbed("noise", 1.0, seed=seed).logits for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    alike = Evaluation(analog.model, SMALL.test.take([0] * 10)).disturbed("noise", 1.0, seed=1).logits
    assert len(np.unique(alike[:, 0])) == 10
    rows = sweep(analog, "noise", [0, 1.0], seed=1)
    assert [row["value"] for row in rows] == [0, 1.0] and rows[0] != rows[1] | {"value": 0}


def test_a_model_stays_as_it_is(net, analog):
    before = jax.tree.map(np.asarray, nnx.state(net))
    for kind, value in (("drop", 0.5), ("bits", 3)):
        analog.disturbed(kind, value)
    analog.operations()
    jax.tree.map(np.testing.assert_array_equal, before, jax.tree.map(np.asarray, nnx.state(net)))
    assert type(net.hidden.neuron) is st.LIF and type(net.fc1) is nnx.Linear


@pytest.mark.parametrize(
    "kind, value, message",
    [
        ("nois", 1, "nois=1 is no disturbance. Valid: noise, flip"),
        ("noise", -1, "noise=-1 must be a standard deviation"),
        ("noise", math.nan, "noise=nan must be"),
        ("drop", 1.5, "drop=1.5 must be a probability"),
        ("bits", 1, "bits=1 must be a whole number from 2 to 24"),
        ("bits", 2.5, "bits=2.5 must be a whole number"),
        ("dt_ms", 0, "dt_ms=0 must be a positive time in ms"),
        ("flip", 0.1, "flip=0.1 disturbs spikes, and the encoded train is analog. Write `noise=...`"),
        ("jitter_ms", 1, "the encoded train is analog"),
    ],
)
def test_a_disturbance_without_sense_is_refused(analog, kind, value, message):
    with pytest.raises(DomainError, match=message.replace("...", r"\.\.\.")):
        analog.disturbed(kind, value)


# Disturbances of a train, each compiled as a whole

noise, flip, jitter = (jax.jit(f) for f in (disturbances.noise, disturbances.flip, disturbances.jitter))
resampled = jax.jit(disturbances.resampled, static_argnums=2, static_argnames="spikes")
KEYS = jax.random.split(jax.random.key(0), 50)
MASK = jnp.arange(40)[:, None] < jnp.arange(50)[None] % 31 + 10
TRAIN = jnp.where(MASK[..., None], jax.random.bernoulli(jax.random.key(1), 0.2, (40, 50, 8)), 0).astype(jnp.float32)


def test_noise_has_its_standard_deviation_and_leaves_padding():
    added = np.asarray(noise(TRAIN, MASK, KEYS, 0.5) - TRAIN)
    assert not added[~np.asarray(MASK)].any()
    assert added[np.asarray(MASK)].std() == pytest.approx(0.5, rel=0.03)


def test_flipping_everything_exchanges_spikes_and_silence():
    flipped = np.asarray(flip(TRAIN, MASK, KEYS, 1.0))
    np.testing.assert_array_equal(flipped, np.where(MASK[..., None], 1 - TRAIN, 0))
    changed = np.asarray(flip(TRAIN, MASK, KEYS, 0.1)) != TRAIN
    assert changed[np.asarray(MASK)].mean() == pytest.approx(0.1, rel=0.1)
    assert not changed[~np.asarray(MASK)].any()


def test_jitter_moves_spikes_by_its_standard_deviation_and_within_the_trial():
    one = jnp.zeros((40, 50, 8)).at[20].set(1.0)
    moved = np.asarray(jitter(one, jnp.ones((40, 50), bool), KEYS, 3.0))
    np.testing.assert_array_equal(moved.sum(0), 1)
    assert (np.argmax(moved, 0) - 20).std() == pytest.approx(3, rel=0.1)
    far = np.asarray(jitter(TRAIN, MASK, KEYS, 100.0))
    assert not far[~np.asarray(MASK)].any() and set(np.unique(far)) == {0, 1}
    assert far[0].sum() > 3 * TRAIN[0].sum()  # at the edges, not lost


@pytest.mark.parametrize("ratio", [0.25, 2, 0.7, 2.37])
def test_another_grid_keeps_duration_charge_and_spikes(ratio):
    current = jax.random.normal(jax.random.key(2), TRAIN.shape) * MASK[..., None]
    for x, is_spikes in ((current, False), (TRAIN, True)):
        new, mask = resampled(x, MASK, ratio, spikes=is_spikes)
        np.testing.assert_array_equal(mask.sum(0), np.ceil(np.asarray(MASK.sum(0)) / ratio - 1e-9))
        assert not np.asarray(new)[~np.asarray(mask)].any()
        kept = new.sum(0) if is_spikes else new.sum(0) * ratio
        np.testing.assert_allclose(kept, x.sum(0), rtol=1e-4, atol=1e-4)
    if ratio < 1 and 1 / ratio == round(1 / ratio):
        held, _ = resampled(current, MASK, ratio, spikes=False)
        np.testing.assert_allclose(held, np.repeat(current, round(1 / ratio), axis=0), rtol=1e-5)
    if ratio == 2:
        mean, _ = resampled(current, MASK, ratio, spikes=False)
        np.testing.assert_allclose(mean, (current[::2] + current[1::2]) / 2, rtol=1e-5, atol=1e-6)


def test_spikes_keep_their_time_on_another_grid():
    one = jnp.zeros((6, 1, 1)).at[5].set(1.0)
    mask = jnp.ones((6, 1), bool)
    for ratio, step in ((0.5, 10), (2, 2), (0.4, 12)):
        new, _ = resampled(one, mask, ratio, spikes=True)
        assert np.flatnonzero(new) == [step]


def test_a_linear_model_does_not_depend_on_the_time_step():
    class Filter(nnx.Module):
        def __init__(self):
            self.fc = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
            self.readout = st.LeakyIntegrator(2, tau=4.0)

        def __call__(self, x):
            return self.readout(self.fc(x))

    evaluation = Evaluation(Filter(), SMALL.test, loss=st.CrossEntropy(readout="last_step"))
    expected = evaluation.predict().logits
    assert np.ptp(expected) > 0.5
    for dt_ms in (0.25,):
        np.testing.assert_allclose(evaluation.disturbed("dt_ms", dt_ms).logits, expected, rtol=1e-4, atol=1e-6)
    assert np.abs(evaluation.disturbed("dt_ms", 2.0).logits - expected).max() > 1e-3


# Lost spikes


def captured(net, x, p):
    """Return the hidden spikes and potentials of a train where spikes are lost with probability `p`."""
    net = nnx.clone(net)
    if p is not None:
        disturbances.lose_spikes(net, jax.random.split(jax.random.key(0), x.shape[1]), p)
    out, spikes, states = nnx.capture(type(net).__call__, st.SpikeTrain, st.StateTrain)(net, x)
    [(_, train)] = nnx.to_flat_state(spikes)
    [V] = [v.get_raw_value()[0] for path, v in nnx.to_flat_state(states) if "/".join(path) == "hidden/neuron/V"]
    return np.asarray(train.get_raw_value()[0]), np.asarray(V), np.asarray(out)


X = jax.random.normal(jax.random.key(4), (30, 40, 3))


def test_without_any_spike_arriving_there_is_no_recurrence_but_the_reset(net):
    cut = nnx.clone(net)
    cut.hidden.comm.weight.value = jnp.zeros((6, 6))
    emitted, V, _ = captured(cut, X, None)
    arrived, V_lossy, out = captured(net, X, 1.0)
    assert 0.1 < emitted.mean() < 0.9 and not arrived.any()
    np.testing.assert_allclose(V_lossy, V, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(out[0], np.broadcast_to(net.fc2.bias[...] * (1 - math.exp(-1 / 20)), (40, 2)), atol=1e-6)


def test_spikes_are_lost_by_chance_one_by_one(net):
    cut = nnx.clone(net)
    cut.hidden.comm.weight.value = jnp.zeros((6, 6))
    emitted, _, _ = captured(cut, X, None)
    arrived, _, _ = captured(cut, X, 0.3)
    assert not np.any(arrived > emitted)
    kept = arrived[emitted > 0]
    assert kept.mean() == pytest.approx(0.7, abs=0.03)
    of_trials = [arrived[:, b][emitted[:, b] > 0].mean() for b in range(40)]
    assert 0.01 < np.std(of_trials) < 0.15
    _, _, with_loss = captured(net, X, 0.3)
    _, _, without = captured(net, X, None)
    assert np.abs(with_loss - without).max() > 0.1


# Weights


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_weights_are_rounded_to_the_nearest_of_so_many_values(net, bits):
    quantized = disturbances.quantized(net, bits)
    for before, after in (
        (net.fc1.kernel, quantized.fc1.kernel),
        (net.hidden.comm.weight, quantized.hidden.comm.weight),
        (net.fc2.kernel, quantized.fc2.kernel),
    ):
        w, q = np.asarray(before.get_raw_value(), float), np.asarray(after.get_raw_value(), float)
        step = np.abs(w).max() / (2 ** (bits - 1) - 1)
        np.testing.assert_allclose(q, step * np.rint(w / step), rtol=1e-6, atol=1e-7)
        assert len(np.unique(np.rint(q / step))) <= 2**bits - 1 and not np.array_equal(q, w)
    assert quantized.fc1.bias[...] is net.fc1.bias[...] or np.array_equal(quantized.fc1.bias[...], net.fc1.bias[...])


def test_only_weights_are_rounded():
    class Odd(nnx.Module):
        def __init__(self):
            self.one = st.OneToOne(3, weight=jnp.array([0.1, 0.55, 1.0]))
            self.cells = st.LIF((2, 3), tau=st.Trainable(jnp.array([[5.0, 6.1, 7.3], [8.2, 9.9, 11.0]])))
            self.silent = nnx.Linear(2, 2, kernel_init=nnx.initializers.zeros, rngs=nnx.Rngs(0))

    odd = disturbances.quantized(Odd(), 2)
    np.testing.assert_allclose(odd.one.weight.value, [0, 1, 1])
    np.testing.assert_array_equal(odd.cells.tau, Odd().cells.tau)
    np.testing.assert_array_equal(odd.silent.kernel[...], 0)


# Operations


def test_operations_are_those_counted_by_hand(net, analog, spiking):
    for evaluation, encode in ((analog, lambda x: x), (spiking, lambda x: (x > 0).astype(float))):
        by_hand = np.zeros(3)
        for frames in trials(SMALL.test, encode):
            train, _ = simulated(net, frames)
            entered = frames.size if evaluation is analog else np.count_nonzero(frames)
            by_hand += [entered * 6, train.sum() * 2, train[:-1].sum() * 6]
        assert by_hand.min() > 0
        found = evaluation.operations()
        assert not found.uncounted
        assert [x.layer for x in found.layers] == ["fc1", "fc2", "hidden/comm"]
        assert [x.operations for x in found.layers] == list(by_hand / 10)
        assert [x.input for x in found.layers] == [found.layers[0].input, "spikes", "spikes"]
        steps = SMALL.test.lengths.sum()
        assert [x.dense for x in found.layers] == [steps * n / 10 for n in (18, 12, 36)]
        total = found.record()
        analog_part = by_hand[0] if evaluation is analog else 0
        assert total["multiply_accumulates"] * 10 == pytest.approx(analog_part)
        assert total["synaptic_operations"] * 10 == pytest.approx(by_hand.sum() - analog_part)


def test_a_connection_of_no_weight_costs_nothing(net):
    pruned = nnx.clone(net)
    pruned.fc2.kernel[...] = pruned.fc2.kernel[...].at[:, 1].set(0).at[0].set(0)
    [layer] = [x for x in Evaluation(pruned, SMALL.test).operations().layers if x.layer == "fc2"]
    spikes = sum(simulated(pruned, frames)[0][:, 1:].sum() for frames in trials(SMALL.test))
    assert layer.operations == spikes / 10 > 0


def brute_force(layer, shape):
    """Count the outputs that each input moves."""
    basis = np.eye(math.prod(shape)).reshape(-1, *shape)
    moved = np.asarray(layer(jnp.asarray(basis))) != np.asarray(layer(jnp.zeros((1, *shape))))
    return moved.reshape(len(basis), -1).sum(1).reshape(shape)


@pytest.mark.parametrize(
    "layer, shape",
    [
        (lambda rngs: nnx.Linear(5, 3, rngs=rngs), (5,)),
        (lambda rngs: nnx.Conv(2, 3, (3, 3), strides=2, rngs=rngs), (5, 4, 2)),
        (lambda rngs: nnx.Conv(4, 4, (3,), padding="VALID", feature_group_count=2, rngs=rngs), (6, 4)),
        (lambda rngs: st.Conv((6, 5, 2), 3, (3, 3), rngs=rngs), (6, 5, 2)),
        (lambda rngs: st.FixedProb(7, 6, 0.4, 1.0 * u.nS, seed=0), (7,)),
        (lambda rngs: st.OneToOne(4, weight=2.0), (4,)),
    ],
)
def test_the_fan_out_is_the_number_of_outputs_that_an_input_moves(layer, shape):
    layer = layer(nnx.Rngs(0))
    bare = lambda x: getattr(y := layer(x), "mantissa", y)  # noqa: E731
    expected = brute_force(bare, shape)
    assert expected.sum() > 0
    np.testing.assert_array_equal(operations.fan_out(layer, shape), expected)


def test_a_convolution_before_a_pool_costs_what_it_costs_without():
    pooled, plain = (st.Conv((6, 4, 2), 3, (3, 3), pool=pool, rngs=nnx.Rngs(0)) for pool in (2, 1))
    np.testing.assert_array_equal(operations.fan_out(pooled, (6, 4, 2)), operations.fan_out(plain, (6, 4, 2)))


class Circuit(st.Dynamics):
    """A loop of two populations, stepped as a whole; one product may run twice per step."""

    in_size = (3,)

    def __init__(self, *, twice=False):
        rngs = nnx.Rngs(1)
        self.enter = st.Dense(3, 4, weight=nnx.initializers.normal(3.0), rngs=rngs)
        self.E, self.I = st.LIF(4, tau=5.0), st.LIF(2, tau=3.0)
        self.E2I = st.AlignPostProj(st.Dense(4, 2, weight=1.5), st.Expon(2, tau=2.0), st.CUBA())
        self.I2E = st.AlignPostProj(st.FixedProb(2, 4, 0.6, -1.0, seed=1), st.Expon(4, tau=2.0), st.CUBA())
        self.times = 2 if twice else 1

    def update(self, x):
        e, i = self.E.spikes, self.I.spikes
        for _ in range(self.times):
            current = self.enter(x)
        self.I.update(self.E2I.update(e))
        return self.E.update(current, self.I2E.update(i))


class CircuitNet(nnx.Module):
    def __init__(self, **options):
        self.circuit = Circuit(**options)
        self.out = nnx.Linear(4, 2, rngs=nnx.Rngs(2))

    def __call__(self, x):
        return self.out(self.circuit(x))


ONE = SMALL.test.take([int(np.flatnonzero(SMALL.test.lengths == 7)[0])])


def test_products_within_a_circuit_are_counted_step_by_step():
    def stepped(circuit, x):
        before = circuit.E.spikes, circuit.I.spikes
        return *before, circuit.update(x)

    circuit = Circuit()
    circuit.init_state(())
    E, I, out = (np.asarray(train) for train in st.for_loop(stepped, circuit, jnp.asarray(ONE.x[0, :7])))
    connections = np.bincount(circuit.I2E.comm.pairs()[0], minlength=2)
    found = {x.layer: x.operations for x in Evaluation(CircuitNet(), ONE).operations().layers}
    assert found == {
        "circuit/enter": 7 * 12,
        "circuit/E2I/comm": E.sum() * 2,
        "circuit/I2E/comm": (I @ connections).sum(),
        "out": out.sum() * 2,
    }
    assert all(found.values())


def test_what_runs_twice_in_a_step_is_said_to_be_left_out():
    found = Evaluation(CircuitNet(twice=True), ONE).operations()
    assert found.uncounted == ["circuit/enter"] and len(found.layers) == 3


# Metrics and records


@given(some.lists(some.tuples(some.integers(0, 3), some.integers(0, 3)), min_size=1, max_size=40))
def test_classes_are_measured_as_their_definitions_say(pairs):
    labels, predicted = (np.array(x) for x in zip(*pairs, strict=True))
    matrix = metrics.confusion(labels, predicted, 4)
    assert matrix.sum() == len(pairs) and all(matrix[a, b] == pairs.count((a, b)) for a in range(4) for b in range(4))
    for k, row in enumerate(metrics.per_class(matrix)):
        right = sum(a == b == k for a, b in pairs)
        said, true = sum(b == k for _, b in pairs), sum(a == k for a, _ in pairs)
        assert row["trials"] == true
        assert row["precision"] == (right / said if said else None)
        assert row["recall"] == (right / true if true else None)
        if right:
            harmonic = 2 / (1 / row["precision"] + 1 / row["recall"])
            assert row["f1"] == pytest.approx(harmonic)
        else:
            assert row["f1"] == (0 if said + true else None)


def record_of(predictions, classes):
    rows = metrics.per_class(predictions.confusion)
    return {
        "split": "test",
        "metrics": {"loss": 0.25, "accuracy": 0.75},
        "classes": classes,
        "per_class": [{"class": name, **row} for name, row in zip(classes, rows, strict=True)],
        "confusion": predictions.confusion.tolist(),
        "operations": {
            "synaptic_operations": 1234.0,
            "multiply_accumulates": 0,
            "dense": 5000.0,
            "layers": [{"layer": "fc", "input": "spikes", "operations": 1234.0, "dense": 5000.0}],
            "uncounted": ["other"],
        },
        "sweeps": {"noise": [{"value": 0.5, "accuracy": 0.5, "loss": 1.0}]},
    }


def test_a_record_is_read_in_a_terminal(analog):
    lines = report.text(record_of(analog.predict(), ["high", "low"])).splitlines()
    assert "test loss: 0.25" in lines and "test accuracy: 75.0 %" in lines
    assert any(line.split() == ["fc", "spikes", "1,234", "5,000"] for line in lines)
    assert "0.5      50.0 %  1.0000" in lines
    assert "not counted, for they run more or less than once per step: other" in lines
    counts = analog.predict().confusion
    assert any(line.split()[:2] == ["0", "high"] and line.split()[2] == str(counts[0, 0] or ".") for line in lines)
    assert len({len(line) for line in lines if line.startswith(("class", "high", "low "))}) == 1
    many = record_of(analog.predict(), ["high", "low"]) | {"classes": [str(i) for i in range(26)]}
    assert "true \\ predicted" not in report.text(many)


def test_predictions_are_written_and_read_back(analog, tmp_path):
    found = analog.predict()
    for name in ("a.npz", "a.csv"):
        report.write_predictions(tmp_path / name, found, ["high", "low, or not"])
    with np.load(tmp_path / "a.npz") as arrays:
        assert list(arrays["classes"]) == ["high", "low, or not"]
        np.testing.assert_array_equal(arrays["logits"], found.logits)
        np.testing.assert_array_equal(arrays["label"], SMALL.test.y)
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert list(rows[0]) == ["trial", "label", "prediction", "logit_0", "logit_1", "probability_0", "probability_1"]
    assert [int(row["prediction"]) for row in rows] == list(found.predicted)
    np.testing.assert_allclose([float(row["probability_1"]) for row in rows], found.probabilities[:, 1], rtol=1e-12)
    np.testing.assert_array_equal(np.array([row["logit_0"] for row in rows], np.float32), found.logits[:, 0])


def test_the_picture_shows_every_count(analog, tmp_path):
    pytest.importorskip("matplotlib")
    record = record_of(analog.predict(), ["high", "low"])
    figure = report.confusion_picture(record, title="test")
    written = sorted(int(text.get_text()) for text in figure.axes[0].texts)
    assert written == sorted(n for row in record["confusion"] for n in row if n)
    figure.savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    json.dumps(record)
