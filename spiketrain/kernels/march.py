"""A loop over time that writes trains in place of those it has read."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp


def march(
    one: Callable[[Any, Any, list[Any]], tuple[Any, list[Any]]],
    state: Any,
    trains: Sequence[Any],
    spare: Sequence[bool],
    times: range,
) -> tuple[Any, list[Any]]:
    """Run `one(t, state, x) -> (state, y)` for every step; return the last state and the trains of y.

    Args:
        one: a step; t is a number of the step, to read other trains at.
        state: what is handed from step to step.
        trains: the trains from which x is read.
        spare: which of them may be overwritten by a train of y of equal shape and dtype.
        times: the numbers of the steps, forward or backward, some of those of the trains. Where one is left out, a
            train of y is that which it overwrites, or zero.
    """
    x = [jax.ShapeDtypeStruct(train.shape[1:], train.dtype) for train in trains]
    ys = jax.eval_shape(one, jax.ShapeDtypeStruct((), jnp.int32), state, x)[1]
    free = [i for i, is_spare in enumerate(spare) if is_spare]
    buffers, places = list(trains), []
    for y in ys:
        match = next((i for i in free if x[i].shape == y.shape and x[i].dtype == y.dtype), None)
        if match is None:
            match = len(buffers)
            buffers.append(jnp.zeros((trains[0].shape[0] if trains else len(times), *y.shape), y.dtype))
        else:
            free.remove(match)
        places.append(match)
    held = sorted(set(places))  # the rest is only read, and no part of what the loop carries
    # Two readers of a train that is overwritten make the compiler copy all of it in every step. With one number in the
    # State there is one reader; else each step's input is read by the step before, after that has written its own.
    ahead = [i for i in held if i < len(trains)] if len(jax.tree.leaves(state)) > 1 else []

    def body(i: Any, carry: Any) -> Any:
        t = times.start + i * times.step
        state, written, x = carry
        state, y = one(t, state, [x[i] if i in x else read(written.get(i, v), t) for i, v in enumerate(trains)])
        for place, value in zip(places, y, strict=True):
            written = written | {place: jax.lax.dynamic_update_index_in_dim(written[place], value, t, 0)}
        soon = jnp.clip(t + times.step, 0, max(times))
        return state, written, {i: read(written[i], soon) for i in x}

    carry = state, {i: buffers[i] for i in held}, {i: trains[i][times[0]] for i in ahead}
    state, written, _ = jax.lax.fori_loop(0, len(times), body, carry)
    return state, [written[place] for place in places]


def read(train: Any, t: Any) -> Any:
    """Return one step of a train."""
    return jax.lax.dynamic_index_in_dim(train, t, keepdims=False)


def packed(x: jax.Array, dtype: Any = None) -> jax.Array:
    """Return `x` in `dtype`, half precision as the integers of its bits: on a CPU jax would convert the whole train."""
    x = x.astype(dtype or x.dtype)
    return jax.lax.bitcast_convert_type(x, jnp.uint16) if x.dtype.itemsize == 2 else x


def unpacked(x: jax.Array, dtype: Any, like: Any) -> jax.Array:
    """Return what `packed(x, dtype)` was made of, in the dtype of `like`."""
    dtype = jnp.dtype(dtype or like.dtype)
    if dtype == jnp.bfloat16:  # its bits are the upper half of single precision
        x = jax.lax.bitcast_convert_type(x.astype(jnp.uint32) << 16, jnp.float32)
    elif dtype.itemsize == 2:
        x = jax.lax.bitcast_convert_type(x, dtype)
    return x.astype(like.dtype)
