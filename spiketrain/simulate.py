"""Simulate a circuit and watch it: any State by its name, piece by piece, so that memory does not grow with time."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from spiketrain.dynamics import Dynamics
from spiketrain.environ import dt_in_seconds
from spiketrain.errors import DomainError, ShapeError, SimulationError, StateError
from spiketrain.state import State
from spiketrain.units import expect_unit, magnitude, show
from spiketrain.unroll import attach, batch_of, detach, leaves_of, length_of, run_steps, write_back

_BYTES = 1 << 23  # recorded per piece: more is slower, and memory would grow with it
_STEPS = 10_000  # per piece, where little is recorded

Monitor = str | Callable[[Any], Any]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Recording:
    """What was watched, time first: `recording["E.spikes"]` is `(T, *batch, ...)`.

    Attributes:
        times: the end of every step, `(T,)`, which is the time of what is recorded in it.
        data: the trains by name.
        state: the State at the end, from which `simulate(..., after=recording)` goes on.
    """

    times: Any
    data: dict[str, Any]
    state: Any

    def __getitem__(self, name: str) -> Any:
        if name not in self.data:
            raise KeyError(f"{name!r} was not recorded, only {', '.join(map(repr, self.data))}.")
        return self.data[name]

    def events(self, name: str) -> tuple[Any, ...]:
        """Return the spikes of a train as their times and their neurons, one array of indices per axis.

        `times, neurons = recording.events("E.spikes")` for a population of one axis, unbatched.
        """
        steps, *neurons = np.nonzero(np.asarray(magnitude(self[name])))
        return self.times[steps], *neurons


def simulate(
    net: Dynamics,
    *inputs: Any,
    duration: Any = None,
    record: Sequence[str] | Mapping[str, Monitor] = ("output",),
    batch_shape: tuple[int, ...] | None = None,
    after: Recording | None = None,
    progress: bool = False,
) -> Recording:
    """Run a circuit for a while and return what was watched.

    The time loop is compiled and runs in pieces, whose recordings move to the host. Memory grows with what is
    recorded: for a long simulation watch little, such as a rate, or take piece after piece from `stream`.

    Within `jax.jit` or `jax.vmap`, over parameters or seeds, build the net inside the function. Trains then stay on
    the device, and potentials are not checked.

    Args:
        net: any `Dynamics`; one step is its `update`.
        inputs: one per argument of `update`: a train with time first, or a function of time, which is given the
            beginnings of the steps as a quantity `(T,)` and returns a train.
        duration: for how long; needed where no input is a train.
        record: what to watch after every step, by its path in the net: a State (`"E.V"`, `"E2I.syn.g"`), a property
            (`"E.spikes"`), or `"output"`, which is what `update` returns. A mapping gives names of your own and
            functions of the net: `{"rate": lambda net: net.E.spikes.mean()}`. What is called `spikes` is kept as
            booleans.
        batch_shape: `()` or `(B,)`, where there is a batch and no input shows it.
        after: a recording to go on from; a fresh trial otherwise.
        progress: show a progress bar.

    Raises:
        ShapeError: neither `duration` nor a train is given, or they disagree.
        StateError: `record` names something that the net does not have.
        SimulationError: a State is no longer a finite number.
    """
    options = dict(duration=duration, record=record, batch_shape=batch_shape, after=after, progress=progress)
    pieces = list(stream(net, *inputs, **options))
    times, data = jax.tree.map(lambda *parts: _joined(parts), *((piece.times, piece.data) for piece in pieces))
    return Recording(times, data, pieces[-1].state)


def stream(
    net: Dynamics,
    *inputs: Any,
    duration: Any = None,
    record: Sequence[str] | Mapping[str, Monitor] = ("output",),
    batch_shape: tuple[int, ...] | None = None,
    after: Recording | None = None,
    progress: bool = False,
) -> Iterator[Recording]:
    """Run like `simulate` and yield one `Recording` per piece: memory is the same however long it takes.

    An input that is a train is in memory as a whole; a function of time is not.
    """
    steps = _steps(net, inputs, duration)
    begin = 0.0 if after is None else float(magnitude(after.times[-1], u.ms))
    x = [_input(x, begin, 0, 1) for x in inputs]  # one step of each
    run = _fresh(net, batch_of(net, tuple(x)) if batch_shape is None else batch_shape, after)
    watch = _watch(record)
    length = _piece(steps, run, watch, x)
    with _bar(steps, progress) as show_step:
        for start in range(0, steps, length):
            stop = min(start + length, steps)
            graphdef, params, rest = nnx.split(run, nnx.Param, ...)
            xs = tuple(_input(x, begin, start, stop) for x in inputs)
            data, short, changed = run_steps(graphdef, None, watch, stop - start, params, rest, xs)
            write_back(run, changed | leaves_of(short))
            write_back(net, changed)
            recording = _recording(begin, start, stop, data, short)
            _check_finite(short, recording.times)
            show_step(stop)
            yield recording


@dataclass(frozen=True)
class _Watch:
    """One step of a net, and what the monitors show after it."""

    monitors: tuple[tuple[str, Monitor], ...]

    def __call__(self, net: Any, *x: Any) -> dict[str, Any]:
        output = net.update(*x)
        return {name: output if monitor == "output" else _look(net, monitor) for name, monitor in self.monitors}


def _watch(record: Sequence[str] | Mapping[str, Monitor]) -> _Watch:
    if isinstance(record, str):
        raise StateError(f'simulate(record=...) is a list of names. Write `record=["{record}"]`.')
    return _Watch(tuple(record.items()) if isinstance(record, Mapping) else tuple((name, name) for name in record))


def _look(net: Any, monitor: Monitor) -> Any:
    if callable(monitor):
        return monitor(net)
    found = net
    for name in monitor.split("."):
        try:
            found = found[int(name)] if name.isdigit() else getattr(found, name)
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            states = [path.replace("/", ".") for path in leaves_of(nnx.state(net, State))]
            spiking = [".".join([*map(str, path), "spikes"]) for path, part in nnx.iter_modules(net) if _spikes(part)]
            raise StateError(
                f"record={monitor!r} is not in {type(net).__name__}. There is {', '.join([*spiking, *sorted(states)])} "
                "and 'output', which is what `update` returns."
            ) from error
    found = found.value if isinstance(found, State) else found
    return found != 0 if name == "spikes" else found


def _spikes(part: Any) -> bool:
    return isinstance(getattr(type(part), "spikes", None), property)


def _steps(net: Dynamics, inputs: tuple[Any, ...], duration: Any) -> int:
    trains = tuple(x for x in inputs if not callable(x))
    if duration is None and not trains:
        raise ShapeError("simulate(duration=...) is needed here. Write, for example, `duration=1.0 * u.second`.")
    if duration is None:
        return length_of(net, trains, None)
    seconds = float(magnitude(expect_unit("simulate", "duration", duration, u.ms), u.second))
    steps = round(seconds / dt_in_seconds())
    if not steps > 0:
        raise DomainError(f"simulate(duration=...) must be at least one time step, got {show(duration)}.")
    return length_of(net, trains, steps)


def _fresh(net: Dynamics, batch_shape: tuple[int, ...], after: Recording | None) -> Dynamics:
    """Return a net to run, equal to `net`, with the State of the beginning."""
    run = nnx.clone(net)
    detach(run)
    if after is not None:
        attach(run, jax.tree.map(lambda leaf: leaf, after.state))
        return run
    given = leaves_of(nnx.state(run))
    run.init_state(batch_shape)
    drawn = {path: leaf for path, leaf in leaves_of(nnx.state(run)).items() if leaf is not given.get(path, leaf)}
    write_back(net, drawn)
    return run


def _piece(steps: int, run: Dynamics, watch: _Watch, x: list[Any]) -> int:
    """Return the number of steps of a piece."""
    graphdef, state = nnx.split(run)
    first = jax.tree.map(lambda train: train[0], x)
    seen = jax.eval_shape(lambda state, x: watch(nnx.merge(graphdef, state, copy=True), *x), state, first)
    per_step = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(seen))
    longest = max(1, min(_STEPS, _BYTES // max(per_step, 1)))
    pieces = math.ceil(steps / longest)
    equal = (n for n in range(pieces, 2 * pieces) if steps % n == 0)  # else the last one is compiled for itself
    return math.ceil(steps / next(equal, pieces))


def _times(begin: float, start: int, stop: int) -> u.Quantity:
    return (begin + np.arange(start, stop) * (dt_in_seconds() * 1e3)) * u.ms


def _input(x: Any, begin: float, start: int, stop: int) -> Any:
    if callable(x):
        return x(_times(begin, start, stop))
    return jax.tree.map(lambda train: jnp.asarray(train[start:stop]), x)


def _recording(begin: float, start: int, stop: int, data: Any, short: Any) -> Recording:
    if not _traced(data):
        data = jax.tree.map(np.asarray, data)
    return Recording(_times(begin, start + 1, stop + 1), data, short)


def _traced(tree: Any) -> bool:
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def _joined(parts: Sequence[Any]) -> Any:
    if len(parts) == 1:
        return parts[0]
    return jnp.concatenate(parts) if _traced(parts) else np.concatenate(parts)


@jax.jit
def _finite(state: Any) -> Any:
    return {path: jnp.isfinite(leaf).all() for path, leaf in leaves_of(state).items()}


def _check_finite(short: Any, times: Any) -> None:
    if _traced(short):
        return
    broken = [path.replace("/", ".") for path, finite in _finite(short).items() if not finite]
    if broken:
        ms = magnitude(times, u.ms)
        raise SimulationError(
            f"{', '.join(broken)} became NaN or infinite between {ms[0]:g} and {ms[-1]:g} ms. Check the units of the "
            "inputs and weights, or take a smaller time step."
        )


@contextmanager
def _bar(steps: int, progress: bool) -> Iterator[Callable[[int], None]]:
    if not progress:
        yield lambda step: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    dt = dt_in_seconds()
    shown = (
        TextColumn("{task.fields[simulated]:.4g} of {task.fields[duration]:.4g} s"),
        BarColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*shown) as bar:
        task = bar.add_task("", total=steps, simulated=0.0, duration=steps * dt)
        yield lambda step: bar.update(task, completed=step, simulated=step * dt)
