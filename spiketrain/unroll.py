"""From one step to a whole train: the only place that loops over time.

The loop is a `lax.scan` of the traced `update`. It closes over Params, creates and drops `ShortTermState`,
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
    length = _length(model, inputs, length)
    captured = {type(kind) for kind in getattr(model, "__captures__", ())}
    fresh = not (_continuing.value and _holds_state(model))
    if _visited.get() is not None:
        _visit(model)
    if fresh and batch_shape is None:
        batch_shape = _batch_shape(model, inputs)

    with _captures_set_aside(model):
        graphdef, params, rest = nnx.split(model, nnx.Param, ...)
        run = _run if _hashable(graphdef) else _run.__wrapped__  # type: ignore[attr-defined]
        ys, trains, short, changed = run(
            graphdef, tuple(batch_shape or ()) if fresh else None, StateTrain in captured, length, params, rest, inputs
        )
        _write_back(model, changed)
        if _continuing.value:
            _attach(model, short)
    if SpikeTrain in captured and hasattr(type(model), "spikes"):
        model.sow(SpikeTrain, "spikes", ys)
    if StateTrain in captured:
        for name, train in trains.items():
            model.sow(StateTrain, name, train)
    return ys


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _run(graphdef, batch_shape, record, length, params, rest, inputs):
    """Scan the step; a `batch_shape` of None continues from the State in `rest`."""
    given = _raw(rest)
    before = given.keys() | _raw(params).keys()
    model = nnx.merge(graphdef, params, rest, copy=True)
    if batch_shape is not None:
        model.init_state(batch_shape)
    stepdef, params, short, other = nnx.split(model, nnx.Param, ShortTermState, ...)
    _check_only_short_term_created(model, before, _raw(params).keys() | _raw(other).keys())
    changed = {path for path, leaf in _raw(other).items() if leaf is not given[path]}

    def step(carry, x):
        short, other = carry
        model = nnx.merge(stepdef, params, short, other, copy=True)
        y = model.update(*x)
        stepdef_after, params_after, short_after, other_after = nnx.split(model, nnx.Param, ShortTermState, ...)
        _check_same_structure(model, stepdef, stepdef_after)
        for path in _differing(params, params_after):
            raise StateError(
                f"{type(model).__name__}.update changed the Param `{path}`. Use a LongTermState for what a trial changes."
            )
        changed.update(_differing(other, other_after))
        trains = {"/".join(map(str, path)): s.value for path, s in nnx.to_flat_state(short_after)} if record else {}
        return (short_after, other_after), (y, trains)

    def is_carried(path, _):
        return "/".join(map(str, path)) in changed

    if _raw(other):  # one abstract step tells what must be carried; the rest, such as connectivity, is a constant
        jax.eval_shape(step, (short, other), jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), inputs))
    carried, constant = nnx.split_state(other, is_carried, ...)

    def loop(carry, x):
        short, carried = carry
        (short, other), out = step((short, nnx.merge_state(carried, constant)), x)
        return (short, nnx.split_state(other, is_carried, ...)[0]), out

    (short, carried), (ys, trains) = jax.lax.scan(loop, (short, carried), inputs, length)
    leaves = _raw(carried)
    return ys, trains, short, {path: leaves[path] for path in sorted(changed)}


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
    given = _raw(nnx.state(run, nnx.Not(ShortTermState)))
    _detach(run)
    if carry is not None:
        _attach(run, jax.tree.map(lambda leaf: leaf, carry))  # a copy: the caller may use the carry again
    token = _visited.set(set())
    try:
        with _continuing(True):
            ys = (method or type(run).__call__)(run, *inputs, **options)
    finally:
        _visited.reset(token)
    after = _raw(nnx.state(run, nnx.Not(ShortTermState)))
    changed = {path: leaf for path, leaf in after.items() if path in given and leaf is not given[path]}
    if averaged := sorted(changed.keys() & _raw(nnx.state(run, nnx.BatchStat)).keys()):
        raise StateError(
            f"advance would change {averaged}: normalising over time needs the whole trial. Call the model on the "
            "whole trial, or write `model.eval()` first."
        )
    _write_back(model, changed)
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
        method: see `advance`; every leaf it returns must have time first.

    Returns:
        The output of the whole trial, equal to that of one call.
    """
    length = _length(model, inputs, None)
    if steps < 1:
        raise ShapeError(f"unroll_in_pieces(steps=...) must be at least 1, got {steps}.")
    whole = length // steps
    _, start = advance(model, None, *jax.tree.map(lambda x: x[:0], inputs), method=method)
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    changed: set[str] = set()

    @jax.checkpoint
    def piece(carry, xs):
        rest, short = carry
        given = _raw(rest)
        model = nnx.merge(graphdef, params, rest, copy=True)
        ys, short = advance(model, short, *xs, method=method)
        if truncate:
            short = jax.lax.stop_gradient(short)
        rest = nnx.state(model, nnx.Not(nnx.Param))
        changed.update(path for path, leaf in _raw(rest).items() if leaf is not given[path])
        return (rest, short), ys

    first = jax.tree.map(lambda x: x[: whole * steps].reshape(whole, steps, *x.shape[1:]), inputs)
    carry, ys = jax.lax.scan(piece, (rest, start), first)
    ys = jax.tree.map(lambda y: y.reshape(whole * steps, *y.shape[2:]), ys)
    if whole * steps < length:
        carry, tail = piece(carry, jax.tree.map(lambda x: x[whole * steps :], inputs))
        ys = jax.tree.map(lambda a, b: jax.numpy.concatenate([a, b]), ys, tail)
    leaves = _raw(carry[0])
    _write_back(model, {path: leaves[path] for path in changed})
    return ys


def _length(model: Any, inputs: Any, length: int | None) -> int:
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


def _batch_shape(model: Any, inputs: Any) -> tuple[int, ...]:
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


def _raw(state: Any) -> dict[str, Any]:
    return {"/".join(map(str, path)): v.get_raw_value() for path, v in nnx.to_flat_state(state)}


def _differing(before: Any, after: Any) -> list[str]:
    old = _raw(before)
    return [path for path, leaf in _raw(after).items() if leaf is not old[path]]


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


def _attach(model: Any, short: Any) -> None:
    for path, state in nnx.to_flat_state(short):
        setattr(_at(model, path[:-1]), path[-1], state)


def _detach(model: Any) -> None:
    for path, _ in nnx.to_flat_state(nnx.state(model, ShortTermState)):
        delattr(_at(model, path[:-1]), path[-1])


def _write_back(model: Any, changed: dict[str, Any]) -> None:
    if changed:
        variables = {"/".join(map(str, path)): v for path, v in nnx.to_flat_state(nnx.state(model))}
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
