"""From one step to a whole train: the only place that loops over time.

The loop runs the traced `update`, as `lax.scan` would. It closes over Params, creates and drops `ShortTermState`,
carries everything else, and writes back only what `update` changed. A model that is run again with equal
structure and shapes reuses its compiled loop.
"""

import contextvars
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
from flax import nnx

from spiketrain.errors import ShapeError, StateError
from spiketrain.kernels.choose import over_time
from spiketrain.state import ShortTermState, SpikeTrain, StateTrain

_continuing = jax.make_user_context(False)
_visited: contextvars.ContextVar[set[int] | None] = contextvars.ContextVar("visited", default=None)


def unroll(model: Any, *inputs: Any, batch_shape: tuple[int, ...] | None = None, length: int | None = None) -> Any:
    """Run a fresh trial of a `Dynamics` and return its outputs, time first.

    Args:
        model: anything with `init_state` and `update`.
        inputs: one pytree per argument of `update`; every leaf is `(T, *batch, ...)`, or `(T,)` for a scalar.
        batch_shape: `()` or `(B,)`; inferred where the model knows the shape of its input.
        length: the number of steps, where there are no inputs.

    Raises:
        ShapeError: the inputs disagree on T, or do not end in the model's input shape.
        StateError: `update` created or removed a State, or changed a Param.
    """
    length = length_of(model, inputs, length)
    captured = {type(kind) for kind in getattr(model, "__captures__", ())}
    start = _start(model, inputs, batch_shape)

    with _captures_set_aside(model):
        graphdef, params, rest = nnx.split(model, nnx.Param, ...)
        step = _update_and_states if StateTrain in captured else _update
        (ys, trains), short, changed = run_steps(graphdef, start, step, length, params, rest, inputs)
        write_back(model, changed)
        if _continuing.value:
            attach(model, short)
    if SpikeTrain in captured and hasattr(type(model), "spikes"):
        model.sow(SpikeTrain, "spikes", ys)
    if StateTrain in captured:
        for name, train in trains.items():
            model.sow(StateTrain, name, train)
    return ys


def at_once(
    model: Any, run: Callable[..., Any], *inputs: Any, batch_shape: tuple[int, ...] | None = None, length: Any = None
) -> Any:
    """Run a trial like `unroll`, through a function of whole trains that takes the place of the loop.

    Where the trains of State are captured, the steps are taken one by one.

    Args:
        model: anything with `init_state` and `update`.
        run: `run(model, *inputs)` returns the outputs and leaves the State behind that so many updates would.
        inputs: as in `unroll`.
        batch_shape: as in `unroll`.
        length: as in `unroll`.

    Raises:
        ShapeError: as in `unroll`.
    """
    captured = {type(kind) for kind in getattr(model, "__captures__", ())}
    if StateTrain in captured:
        return unroll(model, *inputs, batch_shape=batch_shape, length=length)
    length_of(model, inputs, length)
    start = _start(model, inputs, batch_shape)
    with _captures_set_aside(model):
        own = nnx.merge(*nnx.split(model), copy=True)
        if start is not None:
            own.init_state(start)
        ys = run(own, *inputs)
        if _continuing.value:
            attach(model, nnx.state(own, ShortTermState))
    if SpikeTrain in captured and hasattr(type(model), "spikes"):
        model.sow(SpikeTrain, "spikes", ys)
    return ys


def in_pieces() -> bool:
    """Whether `advance` runs what is called now, so that its input may be a piece of a trial."""
    return _continuing.value


def _start(model: Any, inputs: Any, batch_shape: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Return the batch shape of a fresh trial, or None where one is continued."""
    if _visited.get() is not None:
        _visit(model)
    if _continuing.value and _holds_state(model):
        return None
    return tuple(batch_of(model, inputs) if batch_shape is None else batch_shape)


def for_loop(step: Callable[..., Any], model: Any, *inputs: Any, length: int | None = None) -> Any:
    """Run `step(model, *x)` once per time step, compiled, and return what it returns, time first.

    Unlike a call of the model, the loop goes on from the State that is in `model` and leaves the last one there:
    `model.init_state(batch_shape)` begins a trial. The step may do anything with the model that `update` may.

    Args:
        step: a function of the model and of one step of the inputs. A function that is defined once is compiled
            once; a new lambda at every call is compiled at every call.
        model: whatever the step reads and writes: a `Dynamics`, or any flax module that holds some.
        inputs: pytrees whose leaves have time first.
        length: the number of steps, where there are no inputs.

    Raises:
        ShapeError: the inputs disagree on the number of steps.
        StateError: the step created or removed a State, or changed a Param.
    """
    length = length_of(model, inputs, length)
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    ys, short, changed = run_steps(graphdef, None, step, length, params, rest, inputs)
    write_back(model, changed | leaves_of(short))
    return ys


def _update(model: Any, *x: Any) -> Any:
    return model.update(*x), {}


def _update_and_states(model: Any, *x: Any) -> Any:
    y = model.update(*x)
    return y, {path: state.value for path, state in _variables(nnx.state(model, ShortTermState)).items()}


def run_steps(
    graphdef: Any, batch_shape: Any, step: Callable[..., Any], length: int, params: Any, rest: Any, inputs: Any
) -> tuple[Any, Any, dict[str, Any]]:
    """Scan `step(model, *x)`; return its outputs, the last short-term State and what else has changed.

    Args:
        graphdef: the model, split into this and the next two.
        batch_shape: that of a fresh trial; None goes on from the State in `rest`.
        step: the function of one step.
        length: the number of steps.
        params: what no step may change.
        rest: everything else.
        inputs: one pytree per argument of the step behind the model.
    """
    run = _run if _hashable(graphdef) else _run.__wrapped__  # type: ignore[attr-defined]
    return run(graphdef, batch_shape, step, length, params, rest, inputs)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _run(graphdef, batch_shape, step, length, params, rest, inputs):
    given = leaves_of(rest)
    before = given.keys() | leaves_of(params).keys()
    model = nnx.merge(graphdef, params, rest, copy=True)
    if batch_shape is not None:
        model.init_state(batch_shape)
    stepdef, params, short, other = nnx.split(model, nnx.Param, ShortTermState, ...)
    _check_only_short_term_created(model, before, leaves_of(params).keys() | leaves_of(other).keys())
    changed = {path for path, leaf in leaves_of(other).items() if leaf is not given[path]}

    def one(params, carry, x):
        short, other = carry
        model = nnx.merge(stepdef, params, short, other, copy=True)
        y = step(model, *x)
        stepdef_after, params_after, short_after, other_after = nnx.split(model, nnx.Param, ShortTermState, ...)
        _check_same_structure(model, stepdef, stepdef_after)
        for path in _differing(params, params_after):
            raise StateError(
                f"{type(model).__name__}.update changed the Param `{path}`. Use a LongTermState for what a trial changes."
            )
        changed.update(_differing(other, other_after))
        return (short_after, other_after), y

    def is_carried(path, _):
        return "/".join(map(str, path)) in changed

    if leaves_of(other):  # one abstract step tells what must be carried; the rest, such as connectivity, is a constant
        jax.eval_shape(
            one, params, (short, other), jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), inputs)
        )
    carried, constant = nnx.split_state(other, is_carried, ...)

    start, carry_tree = jax.tree.flatten((short, carried))
    fixed, fixed_tree = jax.tree.flatten((params, constant))
    xs, x_tree = jax.tree.flatten(inputs)
    y_tree = None

    def flat(fixed, carry, x):
        nonlocal y_tree
        params, constant = jax.tree.unflatten(fixed_tree, fixed)
        short, carried = jax.tree.unflatten(carry_tree, carry)
        before = short, nnx.merge_state(carried, constant)
        (short, other), y = one(params, before, jax.tree.unflatten(x_tree, x))
        ys, y_tree = jax.tree.flatten(y)
        return jax.tree.leaves((short, nnx.split_state(other, is_carried, ...)[0])), ys

    carry, ys = over_time(type(model).__name__, flat, fixed, start, xs, length)
    short, carried = jax.tree.unflatten(carry_tree, carry)
    ys = jax.tree.unflatten(y_tree, ys)
    leaves = leaves_of(carried)
    return ys, short, {path: leaves[path] for path in sorted(changed)}


def advance(
    model: Any, carry: Any, *inputs: Any, method: Callable[..., Any] | None = None, **options: Any
) -> tuple[Any, Any]:
    """Run any model, train level or step level, on a piece of a trial.

    Args:
        model: a `Dynamics`, or a flax module that contains some and maps trains to trains.
        carry: None at the start of a trial, then what the call before returned.
        inputs: the piece of input trains, time first; zero steps only make the carry of a fresh trial.
        method: what to run as `method(model, *inputs)`; the model's own call by default.
        options: further keyword arguments of the call.

    Returns:
        The output of the piece and the carry that continues the trial. Nothing of the trial stays in `model`.

    Raises:
        StateError: one `Dynamics` runs twice, or a normalisation in training mode averages over a piece,
            or the call lies within `nnx.capture` (capture in `method`).
    """
    if hasattr(model, "__captures__"):
        raise StateError(
            "advance hands no hidden trains to a capture around it. Capture inside: "
            "`advance(model, carry, xs, method=lambda model, xs: nnx.capture(model, SpikeTrain)(xs))`."
        )
    run = nnx.clone(model)
    given = leaves_of(nnx.state(run, nnx.Not(ShortTermState)))
    detach(run)
    if carry is not None:
        attach(run, jax.tree.map(lambda leaf: leaf, carry))  # a copy: the caller may use the carry again
    token = _visited.set(set())
    try:
        with _continuing(True):
            ys = (method or type(run).__call__)(run, *inputs, **options)
    finally:
        _visited.reset(token)
    after = leaves_of(nnx.state(run, nnx.Not(ShortTermState)))
    changed = {path: leaf for path, leaf in after.items() if path in given and leaf is not given[path]}
    if averaged := sorted(changed.keys() & leaves_of(nnx.state(run, nnx.BatchStat)).keys()):
        raise StateError(
            f"advance would change {averaged}: normalising over time needs the whole trial. Call the model on the "
            "whole trial, or write `model.eval()` first."
        )
    write_back(model, changed)
    return ys, nnx.state(run, ShortTermState)


def unroll_in_pieces(
    model: Any, *inputs: Any, steps: int, truncate: bool = False, method: Callable[..., Any] | None = None
) -> Any:
    """Run a whole trial in pieces of `steps`, so that the backward pass keeps one piece in memory at a time.

    Each piece runs under `jax.checkpoint`: its intermediate values are computed again in the backward pass.

    Args:
        model: anything that `advance` takes.
        inputs: whole trains, time first.
        steps: the length of a piece; the last one may be shorter.
        truncate: stop the gradient between pieces, which is truncated back-propagation through time.
        method: see `advance`. What it returns of each piece is joined along the first axis: time, or an axis of one
            for a sum over the piece.

    Returns:
        The output of the whole trial, equal to that of one call.
    """
    length = length_of(model, inputs, None)
    if steps < 1:
        raise ShapeError(f"unroll_in_pieces(steps=...) must be at least 1, got {steps}.")
    steps = min(steps, length)
    nothing, start = advance(model, None, *jax.tree.map(lambda x: x[:0], inputs), method=method)
    if not length:
        return nothing
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    changed: set[str] = set()

    @partial(jax.checkpoint, static_argnums=2)
    def piece(carry, first, steps):
        rest, short = carry
        given = leaves_of(rest)
        model = nnx.merge(graphdef, params, rest, copy=True)
        # Taken here from the whole trains: a train that was cut before the loop would be a copy of all of it.
        xs = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, first, steps), inputs)
        ys, short = advance(model, short, *xs, method=method)
        if truncate:
            short = jax.lax.stop_gradient(short)
        rest = nnx.state(model, nnx.Not(nnx.Param))
        changed.update(path for path, leaf in leaves_of(rest).items() if leaf is not given[path])
        return (rest, short), ys

    whole = length // steps
    carry, ys = jax.lax.scan(lambda *a: piece(*a, steps), (rest, start), steps * jax.numpy.arange(whole))
    ys = jax.tree.map(lambda y: y.reshape(-1, *y.shape[2:]), ys)
    if tail := length % steps:
        carry, last = piece(carry, whole * steps, tail)
        ys = jax.tree.map(lambda a, b: jax.numpy.concatenate([a, b]), ys, last)
    leaves = leaves_of(carry[0])
    write_back(model, {path: leaves[path] for path in changed})
    return ys


def length_of(model: Any, inputs: Any, length: int | None) -> int:
    """Return the number of steps on which all inputs, and `length` where it is given, agree."""
    name = type(model).__name__
    lengths = set()
    for leaf in jax.tree.leaves(inputs):
        if jax.numpy.ndim(leaf) == 0:
            raise ShapeError(
                f"{name} expects trains with time first, (T, ...), got a scalar. For one step call {name}.update."
            )
        lengths.add(leaf.shape[0])
    if length is not None:
        lengths.add(length)
    if len(lengths) != 1:
        got = f"lengths {sorted(lengths)}" if lengths else "no inputs and no length"
        raise ShapeError(
            f"{name} expects one number of time steps, got {got}. Write, for example, `{name.lower()}(length=1000)`."
        )
    return lengths.pop()


def batch_of(model: Any, inputs: Any) -> tuple[int, ...]:
    """Return the batch shape that the inputs show to a model which knows the shape of one."""
    size = getattr(model, "in_size", None)
    if size is None:
        return ()
    batch: tuple[int, ...] = ()
    for leaf in jax.tree.leaves(inputs):
        shape = leaf.shape[1:]
        if shape == ():
            continue
        batch = shape[: len(shape) - len(size)]
        if shape[len(batch) :] != size or len(batch) > 1:
            wanted = ", ".join(map(str, ("T", "B", *size)))
            raise ShapeError(
                f"{type(model).__name__} expects trains of shape ({wanted}), or without B, got {tuple(leaf.shape)}. "
                "Time comes first."
            )
    return batch


def _variables(state: Any) -> dict[str, Any]:
    return {"/".join(map(str, path)): variable for path, variable in nnx.to_flat_state(state)}


def leaves_of(state: Any) -> dict[str, Any]:
    """Return the bare arrays by their path, such as `E/V`."""
    return {path: variable.get_raw_value() for path, variable in _variables(state).items()}


def _differing(before: Any, after: Any) -> list[str]:
    old = leaves_of(before)
    return [path for path, leaf in leaves_of(after).items() if leaf is not old[path]]


def _hashable(x: Any) -> bool:
    try:
        hash(x)
    except TypeError:
        return False
    return True


def _holds_state(model: Any) -> bool:
    return bool(nnx.to_flat_state(nnx.state(model, ShortTermState)))


@contextmanager
def _captures_set_aside(model: Any) -> Iterator[None]:
    held = []
    if hasattr(model, "__captures__"):
        held = [
            (module, module.__captures__) for _, module in nnx.iter_modules(model) if hasattr(module, "__captures__")
        ]
    for module, _ in held:
        del module.__captures__
    try:
        yield
    finally:
        for module, captures in held:
            module.__captures__ = nnx.data(captures)


def _at(model: Any, path: Any) -> Any:
    for key in path:
        model = model[key] if isinstance(key, int) else getattr(model, key)
    return model


def attach(model: Any, short: Any) -> None:
    """Put short-term State into a model that has none."""
    for path, state in nnx.to_flat_state(short):
        setattr(_at(model, path[:-1]), path[-1], state)


def detach(model: Any) -> None:
    """Remove all short-term State from a model."""
    for path, _ in nnx.to_flat_state(nnx.state(model, ShortTermState)):
        delattr(_at(model, path[:-1]), path[-1])


def write_back(model: Any, changed: dict[str, Any]) -> None:
    """Write bare arrays to the Variables at their paths."""
    if changed:
        variables = _variables(nnx.state(model))
        for path, leaf in changed.items():
            variables[path].set_raw_value(leaf)


def _visit(model: Any) -> None:
    visited = _visited.get()
    assert visited is not None
    if id(model) in visited:
        raise StateError(
            f"advance ran one {type(model).__name__} twice, and it has only one State to carry. Make one module per use."
        )
    visited.add(id(model))


def _check_only_short_term_created(model: Any, before: Set[str], after: Set[str]) -> None:
    if extra := sorted(after - before):
        raise StateError(
            f"{type(model).__name__}.init_state created {extra}, which are no ShortTermState. Create them in the constructor."
        )


def _check_same_structure(model: Any, before: Any, after: Any) -> None:
    if before != after:
        raise StateError(
            f"{type(model).__name__}.update created or removed State, or changed a plain attribute. "
            "Create State in init_state and write to its `.value`."
        )
