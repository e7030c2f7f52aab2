"""What an optimizer step may be told: groups, frozen parameters, constraints and schedules."""

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

import spiketrain
from spiketrain import environ
from spiketrain.config import build, registry, schema
from spiketrain.config.check import check
from spiketrain.errors import ConfigError, DomainError
from spiketrain.init import Dale, Normal
from spiketrain.models.spiking_net import SpikingNet
from spiketrain.training import optimizers
from spiketrain.training.constraints import RULES, constrain, project
from spiketrain.training.groups import grouped
from spiketrain.training.patterns import first_matches
from spiketrain.training.run import make_trainer

from runs import small

seeds = st.integers(0, 2**31 - 1)
few = settings(max_examples=8)  # of tests that run op by op


def tree(rng, scale=1.0):
    """Return parameters, or gradients, of a small recurrent net."""
    shapes = {"linear/kernel": (3, 4), "linear/bias": (4,), "recurrent/weight": (4, 4), "tau": (4,)}
    nested = {}
    for path, shape in shapes.items():
        *outer, last = path.split("/")
        inner = nested.setdefault(outer[0], {}) if outer else nested
        inner[last] = jnp.asarray(rng.normal(size=shape) * scale, jnp.float32)
    return nested


def bits(tree):
    return [np.asarray(x).tobytes() for x in jax.tree.leaves(tree)]


def steps(tx, params, gradients):
    """Return the parameters after each of some steps."""
    state, after = tx.init(params), []
    for gradient in gradients:
        updates, state = tx.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        after.append(params)
    return after


# Groups


@few
@given(seed=seeds)
def test_groups_are_optimizers_of_their_own(seed):
    rng = np.random.default_rng(seed)
    params, gradients = tree(rng), [tree(rng) for _ in range(2)]
    slow, fast, rest = optax.adam(1e-4), optax.sgd(0.5, momentum=0.9), optax.adamw(1e-2, weight_decay=0.1)
    after = steps(grouped(rest, {"tau": slow, "linear/*": fast}), params, gradients)[-1]
    for key, tx in {"tau": slow, "linear": fast, "recurrent": rest}.items():
        alone = steps(tx, params[key], [g[key] for g in gradients])[-1]
        assert bits(alone) == bits(after[key]) != bits(params[key])


@few
@given(seed=seeds, clip_norm=st.floats(0.1, 10))
def test_a_frozen_parameter_might_as_well_be_absent(seed, clip_norm):
    rng = np.random.default_rng(seed)
    params, gradients = tree(rng), [tree(rng) for _ in range(2)]

    def without(t):
        return {key: value for key, value in t.items() if key != "linear"}

    tx = optimizers.adamw(optax.constant_schedule(0.1), weight_decay=0.1, clip_norm=None)
    after = steps(grouped(tx, {"linear/*": None}, clip_norm=clip_norm), params, gradients)[-1]
    absent = optimizers.adamw(optax.constant_schedule(0.1), weight_decay=0.1, clip_norm=clip_norm)
    assert bits(after["linear"]) == bits(params["linear"])
    assert bits(without(after)) == bits(steps(absent, without(params), map(without, gradients))[-1])
    assert bits(without(after)) != bits(without(params))


@given(seed=seeds, clip_norm=st.floats(0.1, 10))
def test_the_norm_that_is_clipped_is_that_of_all_groups(seed, clip_norm):
    rng = np.random.default_rng(seed)
    params, gradient = tree(rng), tree(rng)
    tx = grouped(optax.sgd(1.0), {"tau": optax.sgd(0.25)}, clip_norm=clip_norm)
    updates, _ = tx.update(gradient, tx.init(params), params)
    norm = np.sqrt(sum((np.asarray(g, float) ** 2).sum() for g in jax.tree.leaves(gradient)))
    scale = min(1, clip_norm / norm)
    np.testing.assert_allclose(updates["tau"], -0.25 * scale * gradient["tau"], rtol=1e-5)
    np.testing.assert_allclose(updates["linear"]["bias"], -scale * gradient["linear"]["bias"], rtol=1e-5)


def configured(total=10, **optimizer):
    """Return the transformation of a checked configuration."""
    config = check({"optimizer": {"name": "sgd", "momentum": 0.0, **optimizer}, "schedule": {"name": "cosine"}})
    return build.optimizer(config, total)


def test_the_rate_of_a_group_is_a_peak_under_the_same_schedule():
    params = tree(np.random.default_rng(0))
    ones = jax.tree.map(jnp.ones_like, params)
    tx = configured(learning_rate=0.2, clip_norm=None, groups={"tau": {"learning_rate": 0.05}})
    state = tx.init(params)
    cosine = optimizers.cosine_schedule(1.0, 10)
    for n in range(10):
        updates, state = tx.update(ones, state, params)
        np.testing.assert_allclose(updates["tau"], -0.05 * cosine(n), rtol=1e-6)
        np.testing.assert_allclose(updates["recurrent"]["weight"], -0.2 * cosine(n), rtol=1e-6)


def test_a_decay_of_its_own_acts_on_all_of_a_group():
    params = jax.tree.map(jnp.ones_like, tree(np.random.default_rng(0)))
    zeros = jax.tree.map(jnp.zeros_like, params)
    groups = {"linear/*": {"weight_decay": 0.5}, "recurrent/*": {"weight_decay": 0.0}}
    config = {"name": "adamw", "learning_rate": 0.1, "weight_decay": 0.2, "groups": groups}
    tx = build.optimizer(check({"optimizer": config, "schedule": "constant"}), 10)
    updates, _ = tx.update(zeros, tx.init(params), params)
    for name, decay in (("kernel", 0.05), ("bias", 0.05)):
        np.testing.assert_allclose(updates["linear"][name], -decay, rtol=1e-6)
    np.testing.assert_array_equal(updates["recurrent"]["weight"], 0)
    np.testing.assert_array_equal(updates["tau"], 0)  # of the rest, no matrix


def test_a_group_that_says_nothing_is_like_the_rest():
    rng = np.random.default_rng(0)
    params, gradients = tree(rng), [tree(rng)]
    plain, empty = (configured(clip_norm=0.5, groups=groups) for groups in ({}, {"linear/*": {}, "tau": {}}))
    assert bits(steps(plain, params, gradients)) == bits(steps(empty, params, gradients))


def test_the_first_pattern_counts():
    names = ["linear/0/kernel", "linear/0/bias", "readout/tau"]
    assert first_matches(["*/bias", "linear/[01]/*"], names, "here") == {names[0]: "linear/[01]/*", names[1]: "*/bias"}
    with pytest.raises(ConfigError, match=r"^here: all parameters that '\*/bias' .* '\*', and the first .*before it"):
        first_matches(["*", "*/bias"], names, "here")
    with pytest.raises(ConfigError, match=r"^here: 'kernel' matches no parameter. There are linear/0/kernel, linear"):
        first_matches(["kernel"], names, "here")


@pytest.mark.parametrize("what", ["groups", "constraints"])
def test_a_pattern_without_parameters_is_refused_before_anything_compiles(what):
    tx = configured(**{what: {"*/wieght": {} if what == "groups" else "dale"}})
    with pytest.raises(ConfigError, match=rf"^optimizer.{what}: '\*/wieght' matches no parameter. There are linear/bi"):
        jax.eval_shape(tx.init, tree(np.random.default_rng(0)))


# Constraints

RULES_OF = {"signs": "keep_sign", "pre": "dale", "both": ["dale", "keep_zeros"], "mask": ["keep_zeros"]}
RULES_OF |= {"up": "non_negative", "down": "non_positive"}
FREE = optax.adamw(0.3, weight_decay=0.1)
TX = optax.chain(FREE, constrain({f"a/{name}": rule for name, rule in RULES_OF.items()}))


def weights(rng):
    """Return matrices (pre, post) with some zeros."""
    drawn = {name: rng.normal(size=(5, 4)) * (rng.random((5, 4)) < 0.7) for name in [*RULES_OF, "free"]}
    return {"a": {name: jnp.asarray(w, jnp.float32) for name, w in drawn.items()}}


@jax.jit
def walk(params, gradients, rate):
    """Return a start within constraints, and the parameters after every step from it."""
    state = TX.init(params)
    params = project(params, state)

    def step(carry, gradient):
        params, state = carry
        updates, state = TX.update(gradient, state, params)
        params = optax.apply_updates(params, jax.tree.map(lambda x: x * rate, updates))
        return (params, state), params

    return params, jax.lax.scan(step, (params, state), gradients)[1]


@given(seed=seeds, rate=st.sampled_from([1.0, 0.5, 0.3, 1e-3]))
def test_constraints_hold_exactly_after_every_step(seed, rate):
    rng = np.random.default_rng(seed)
    start, gradients = weights(rng), jax.tree.map(lambda *x: jnp.stack(x), *[weights(rng) for _ in range(6)])
    within, after = walk(start, gradients, rate)
    begun = {name: np.asarray(w) for name, w in start["a"].items()}
    ends = {name: np.concatenate([within["a"][name][None], w]) for name, w in after["a"].items()}
    assert (ends["up"] >= 0).all() and (ends["down"] <= 0).all()
    assert (ends["signs"] * np.sign(begun["signs"]) >= 0).all()
    assert (ends["mask"][:, begun["mask"] == 0] == 0).all() and (ends["both"][:, begun["both"] == 0] == 0).all()
    for name in ("pre", "both"):
        sign = np.where(begun[name].sum(1, keepdims=True) >= 0, 1, -1)
        assert (ends[name] * sign >= 0).all()
    for name in ends:  # and it was not silence that held them
        assert (ends[name][1:] != ends[name][0]).any(), name
    if rate == 1:  # and that they bound
        assert sum((ends[name][1:][:, begun[name] != 0] == 0).sum() for name in ("signs", "pre", "both", "up")) > 0


@few
@given(seed=seeds)
def test_where_no_constraint_binds_the_update_is_the_unconstrained_one(seed):
    rng = np.random.default_rng(seed)
    sign = {name: rng.choice([-1, 1], (5, 1 if name in ("pre", "both") else 4)) for name in weights(rng)["a"]}
    sign |= {"up": 1, "down": -1}
    far = {"a": {name: (5 + abs(w)) * sign[name] for name, w in weights(rng)["a"].items()}}
    gradients = [weights(rng) for _ in range(2)]
    constrained, free = (steps(tx, far, gradients)[-1] for tx in (TX, FREE))
    assert bits(constrained) == bits(free)
    assert all((w != far["a"][name]).all() for name, w in free["a"].items())


@given(seed=seeds)
def test_of_an_update_that_binds_each_weight_takes_the_allowed_part(seed):
    rng = np.random.default_rng(seed)
    start, updates = weights(rng), weights(rng)
    link = constrain({"a/up": "non_negative"})
    state = link.init(start)
    start = project(start, state)
    after, _ = link.update(updates, state, start)
    np.testing.assert_array_equal(
        start["a"]["up"] + after["a"]["up"],
        np.maximum(np.asarray(start["a"]["up"]) + np.asarray(updates["a"]["up"]), 0),
    )
    assert bits(after["a"]["free"]) == bits(updates["a"]["free"])


def test_keep_sign_leaves_free_what_starts_at_zero_and_keep_zeros_does_not():
    start, updates = {"w": jnp.zeros(2)}, {"w": jnp.array([1.0, -1.0])}
    for rule, wanted in (("keep_sign", updates["w"]), ("keep_zeros", 0)):
        link = constrain({"w": rule})
        np.testing.assert_array_equal(link.update(updates, link.init(start), start)[0]["w"], wanted)


def test_dale_keeps_the_signs_that_its_initialiser_draws():
    w = Dale(Normal(0.0, 1.0), excitatory=0.6)(jax.random.key(0), (5, 4))
    allowed = constrain({"w": "dale"}).init({"w": w})
    np.testing.assert_array_equal(allowed.positive["w"][:, 0], [True, True, True, False, False])
    np.testing.assert_array_equal(allowed.negative["w"], ~allowed.positive["w"])
    assert bits(project({"w": w}, allowed)) == bits({"w": w})


def test_dale_of_a_kernel_is_a_sign_per_input_channel():
    kernel = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3, 2, 4)), jnp.float32)
    allowed = constrain({"*": "dale"}).init({"kernel": kernel})
    wanted = np.asarray(kernel).sum((0, 1, 3)) >= 0
    np.testing.assert_array_equal(allowed.positive["kernel"].reshape(2), wanted)
    np.testing.assert_array_equal(allowed.negative["kernel"].reshape(2), ~wanted)


def test_constraints_refuse_what_they_cannot_mean():
    params = nnx.state(SpikingNet(3, 2, hidden=[4], rngs=nnx.Rngs(0)), nnx.Param)
    with pytest.raises(ConfigError, match=r"^optimizer.constraints: dale is about .* linear/0/bias has shape \(4,\)"):
        constrain({"linear/*": "dale"}).init(params)
    with pytest.raises(ConfigError, match=r"^optimizer.constraints: readout/tau is greater than zero by the way it is"):
        constrain({"readout/*": "non_negative"}).init(params)
    with pytest.raises(
        ConfigError, match=r"^optimizer.constraints\[\*\] = 'dael' is no constraint. Did you mean `dale`"
    ):
        constrain({"*": "dael"})
    link = constrain({"*": "keep_zeros"})
    with pytest.raises(ValueError, match="needs the parameters"):
        link.update({"w": jnp.ones(2)}, link.init({"w": jnp.ones(2)}))
    assert tuple(RULES) == schema.CONSTRAINTS


# Configuration


@pytest.mark.parametrize(
    "optimizer, message",
    [
        ({"groups": 3}, r"^optimizer.groups must be a mapping from patterns, such as .*, got 3"),
        ({"groups": {3: {}}}, r"^optimizer.groups must be a mapping from patterns"),
        ({"groups": {"*/tau": 0.1}}, r"^optimizer.groups\[\*/tau\] must be a mapping, got 0.1"),
        (
            {"groups": {"*/tau": {"learning_rte": 0.1}}},
            r"^optimizer.groups\[\*/tau\].learning_rte is no key .* Did you",
        ),
        ({"groups": {"*/tau": {"frozn": True}}}, r"Did you mean `optimizer.groups\[\*/tau\].frozen`\?"),
        ({"groups": {"*/tau": {"clip_norm": 1.0}}}, r"^optimizer.groups\[\*/tau\].clip_norm is no key"),
        ({"groups": {"*/tau": {"groups": {}}}}, r"^optimizer.groups\[\*/tau\].groups is no key"),
        ({"groups": {"*/tau": {"b1": 0.9}}, "name": "sgd"}, r"^optimizer.groups\[\*/tau\].b1 is no key .*\(SGD\)"),
        (
            {"groups": {"*/tau": {"learning_rate": "1"}}},
            r"^optimizer.groups\[\*/tau\].learning_rate must be a finite n",
        ),
        ({"groups": {"a": {"frozen": True, "b1": 0.1}}}, r"^optimizer.groups\[a\] is frozen: leave out b1"),
        ({"constraints": ["dale"]}, r"^optimizer.constraints must be a mapping from patterns"),
        ({"constraints": {"a": "dael"}}, r"^optimizer.constraints\[a\] = 'dael' is no constraint. Did you mean `dale`"),
        ({"constraints": {"a": [["dale"]]}}, r"^optimizer.constraints\[a\] = \['dale'\] is no constraint"),
        ({"constraints": {"a": []}}, r"^optimizer.constraints\[a\] must be a constraint or a list of some, got \[\]"),
        ({"constraints": {"a": None}}, r"^optimizer.constraints\[a\] must be a constraint or a list"),
        (
            {"constraints": {"a": ["dale", "keep_sign"]}},
            r"^optimizer.constraints\[a\] names several rules of sign: dale,",
        ),
    ],
)
def test_the_check_refuses(optimizer, message):
    with pytest.raises(ConfigError, match=message):
        check({"optimizer": {"name": "adamw"} | optimizer})


def test_groups_and_constraints_pass_the_check_as_they_are():
    groups = {"*/tau*": {"learning_rate": 1, "weight_decay": 0.0}, "linear/0/*": {"frozen": True}, "*": {}}
    config = check(
        {"optimizer": {"name": "adamw", "groups": groups, "constraints": {"a": "dale", "b": ["keep_zeros"]}}}
    )
    assert config["optimizer"]["groups"] == groups and list(config["optimizer"]["groups"]) == list(groups)
    assert config["optimizer"]["constraints"] == {"a": ["dale"], "b": ["keep_zeros"]}
    assert check(config) == config


def test_groups_and_constraints_can_be_written_on_the_command_line():
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from spiketrain.cli.train import _forced, config_folder

    words = ["optimizer.groups={*/tau*: {learning_rate: 1e-4}, linear/0/*: {frozen: true}}"]
    words += ["optimizer.constraints={spiking/*/comm/weight: [dale, keep_zeros]}", "optimizer.groups={*/b: {}}"]
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        composed = OmegaConf.to_container(compose("train", [_forced(word) for word in words]), resolve=True)
    optimizer = check(composed)["optimizer"]
    assert optimizer["groups"] == {"*/tau*": {"learning_rate": 1e-4}, "linear/0/*": {"frozen": True}, "*/b": {}}
    assert optimizer["constraints"] == {"spiking/*/comm/weight": ["dale", "keep_zeros"]}


def test_an_optimizer_of_ones_own_takes_groups_and_constraints(monkeypatch):
    monkeypatch.setattr(registry, "_ENTRIES", {kind: dict(names) for kind, names in registry._ENTRIES.items()})

    @spiketrain.register("optimizer", "mine")
    def mine(learning_rate: float = 0.5, power: float = 1.0):
        return optax.chain(optax.scale(power), optax.sgd(learning_rate))

    groups, constraints = {"linear/*": {"frozen": True}, "tau": {"power": 2.0}}, {"recurrent/*": "non_negative"}
    config = {"name": "mine", "groups": groups, "constraints": constraints}
    tx = build.optimizer(check({"optimizer": config, "schedule": "constant"}), 10)
    params = ones = jax.tree.map(jnp.ones_like, tree(np.random.default_rng(0)))
    last = steps(tx, params, [ones] * 3)[-1]
    np.testing.assert_array_equal(last["linear"]["bias"], 1)
    np.testing.assert_array_equal(last["tau"], -2)
    np.testing.assert_array_equal(last["recurrent"]["weight"], 0)
    with pytest.raises(ConfigError, match=r"may have no argument `groups`"):
        spiketrain.register("optimizer", "other")(lambda learning_rate=1.0, groups=(): None)


# In a run


def arrays(trainer):
    """Return what a trainer holds by name, but for random keys."""
    named = zip(trainer.layout.names, trainer.leaves, strict=True)
    return {name: np.asarray(x) for name, x in named if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key)}


def test_a_run_obeys_its_groups_and_constraints_and_resumes_with_them(data, tmp_path):
    groups = {"linear/*": {"frozen": True}, "*/tau*": {"learning_rate": 1e-3, "weight_decay": 0.0}}
    optimizer = {"name": "adamw", "learning_rate": 0.1, "groups": groups, "constraints": {"*/comm/weight": "dale"}}
    config = small(data, optimizer=optimizer, schedule="constant", trainer__epochs=2)
    with environ.context(dt=1.0 * u.ms):
        trainer = make_trainer(config, tmp_path)
        before = arrays(trainer)
        trainer.fit()
        after = arrays(trainer)
        other = make_trainer(config | {"seed": 1}, tmp_path)
        fresh = arrays(other)
        other.resume()
        resumed = arrays(other)
    weight, signs = "params/spiking/0/comm/weight", [name for name in after if "/positive/" in name]
    sign = np.where(before[weight].sum(1, keepdims=True) >= 0, 1, -1)
    assert (after[weight] * sign >= 0).all() and (after[weight] != before[weight]).any()
    np.testing.assert_array_equal(after["params/linear/0/kernel"], before["params/linear/0/kernel"])
    assert 0 < np.abs(after["params/readout/tau"] - before["params/readout/tau"]).max() < 0.01
    assert signs and (fresh[signs[0]] != after[signs[0]]).any()
    assert {name: x.tobytes() for name, x in resumed.items()} == {name: x.tobytes() for name, x in after.items()}


# Schedules


@pytest.mark.parametrize("warmup", [0.2, 0.3, 0.5])
def test_one_cycle_is_that_of_optax(warmup):
    own = optimizers.one_cycle_schedule(2.0, 100, warmup=warmup, start=0.1, final=0.01)
    theirs = optax.cosine_onecycle_schedule(100, 2.0, warmup, div_factor=10.0, final_div_factor=10.0)
    np.testing.assert_allclose(
        [own(n) for n in range(0, 101, 5)], [theirs(n) for n in range(0, 101, 5)], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("steps", [1, 2, 10])
@pytest.mark.parametrize("warmup", [0.0, 0.3, 1.0])
def test_one_cycle_rises_to_the_learning_rate_and_falls_to_its_end(steps, warmup):
    cycle, rising = (
        optimizers.one_cycle_schedule(2.0, steps, warmup=warmup, start=0.1, final=0.01),
        round(warmup * steps),
    )
    values = np.array([cycle(n) for n in range(steps + 1)])
    assert (np.diff(values[: rising + 1]) > 0).all() and (np.diff(values[rising:]) < 0).all()
    assert values[rising] == pytest.approx(2.0)
    if rising:
        assert values[0] == pytest.approx(0.2)
    if rising < steps:
        assert values[-1] == pytest.approx(0.02)


def test_one_cycle_refuses_a_start_above_the_peak():
    with pytest.raises(DomainError, match=r"one_cycle\(start=...\) must lie between 0 and 1, got 2"):
        optimizers.one_cycle_schedule(2.0, 10, start=2.0)
