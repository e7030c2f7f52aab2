"""Trials that stay events until they are in a batch: a data set need not fit into memory as dense trains."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spiketrain.data.dataset import Split
from spiketrain.data.events import LAST, Events
from spiketrain.data.events_on_disk import EventsOnDisk
from spiketrain.errors import DataError

if TYPE_CHECKING:
    from spiketrain.data.event_trials import EventTrials

PADDING = ("after_last_event", "none")


@dataclass(frozen=True, eq=False)
class EventSplit:
    r"""Holds labelled trials as events, of T = `steps` steps of `bin_us` microseconds and C = `prod(events.size)` channels.

    The event at time t falls into step $\lfloor t / \Delta \rfloor$, exactly, in whole microseconds. On the device the
    split takes 5 to 8 bytes per event and 12 per trial; a batch is made dense inside the training step.

    Args:
        events: the trials; those `EventsOnDisk` are read when they are needed.
        bin_us: $\Delta$, the width of a step in whole microseconds.
        steps: T; as many as the longest trial needs unless it is given. With fewer, `outside` is the number of events
            that are left out.
        clip: whether a channel with several events in a step counts one.
        padding: `after_last_event` ends a trial with the step of its last event, `none` makes every trial T steps long.

    Raises:
        DataError: there is no trial, or an argument is not as above.
    """

    events: Events | EventsOnDisk
    bin_us: int
    steps: int = 0
    clip: bool = False
    padding: str = PADDING[0]

    def __post_init__(self):
        if len(self.events) == 0:
            raise DataError("EventSplit(events=...) expects at least one trial, got none.")
        if not (isinstance(self.bin_us, int | np.integer) and 1 <= self.bin_us <= LAST):
            raise DataError(
                f"EventSplit(bin_us=...) expects 1 to {LAST}, a whole number of microseconds, got {self.bin_us!r}."
            )
        if self.padding not in PADDING:
            raise DataError(f"EventSplit(padding=...) expects one of {', '.join(PADDING)}, got {self.padding!r}.")
        if self.steps < 0:
            raise DataError(f"EventSplit(steps=...) must be at least 1, got {self.steps}.")
        steps = self.steps or int(self._needed.max())
        if steps > LAST:
            raise DataError(
                f"EventSplit(bin_us=..., steps=...) has at most {LAST} steps, got {steps}. Write a larger bin_us, or fewer steps."
            )
        object.__setattr__(self, "steps", steps)

    def __len__(self):
        return len(self.events)

    @property
    def shape(self) -> tuple[int, int]:
        """T and C."""
        return self.steps, math.prod(self.events.size)

    @property
    def streams(self) -> bool:
        """Whether trials are read for one batch at a time."""
        return isinstance(self.events, EventsOnDisk)

    @property
    def y(self) -> np.ndarray:
        """The labels, (n,)."""
        return self.events.labels

    @cached_property
    def lengths(self) -> np.ndarray:
        """The number of steps of each trial, (n,), from 1 to T."""
        steps = self.steps if self.padding == "none" else np.minimum(self._needed, self.steps)
        return np.full(len(self), steps, np.int32)

    @cached_property
    def _needed(self) -> np.ndarray:
        return np.maximum(self.events.durations // self.bin_us + 1, 1)

    @property
    def outside(self) -> int:
        """The number of events that fall after the last step."""
        return self.events.after(self.steps * self.bin_us)

    def take(self, indices: Any) -> "EventSplit":
        """Return the trials at `indices` (integers, a mask or a slice), in that order."""
        return replace(self, events=self.events.take(indices))

    def room(self, trials: int) -> "Room":
        """Return the room that any so many of these trials need, none of them again before all were taken."""
        counts = np.sort(self.events.counts)[::-1]
        times, more = divmod(trials, len(self))
        return Room(int(counts[0]), int(times * counts.sum() + counts[:more].sum()))

    def trials(self, room: "Room | None" = None) -> "EventTrials":
        """Return the arrays that go to the devices, and how a batch is made of them.

        Args:
            room: fills the arrays up, so that those of other trials have the same shapes.
        """
        from spiketrain.data.event_trials import EventTrials

        events = self.events.in_memory()
        room = self.room(len(self)) if room is None else room
        if room.of_all + room.of_one > LAST:
            raise DataError(f"{room.of_all} events are more than the {LAST} that fit on a device. Take fewer trials.")
        return EventTrials(
            _filled(events.times, room.of_all),
            _filled(events.units, room.of_all),
            events.offsets.astype(np.int32),
            self.lengths,
            self.y,
            bin_us=int(self.bin_us),
            steps=self.steps,
            window=room.of_one,
            channels=self.shape[1],
            clip=self.clip,
        )

    def dense(self) -> Split:
        """Return the same trials as one dense array of `4 n T C` bytes, computed on the host."""
        x = np.zeros((len(self), *self.shape), np.float32)
        events = self.events.in_memory()
        step = events.times // self.bin_us
        inside = step < self.steps
        trial = np.repeat(np.arange(len(self)), events.counts)
        np.add.at(x, (trial[inside], step[inside], events.units[inside]), 1)
        return Split(np.minimum(x, 1) if self.clip else x, self.lengths, self.y)


class Room(NamedTuple):
    """How many events a trial of some has at most, and all of them have together."""

    of_one: int
    of_all: int


def _filled(a: np.ndarray, n: int) -> np.ndarray:
    """Fill an array up with zeros to n entries, at least one: an empty array cannot be gathered from."""
    missing = max(n, 1) - len(a)
    return np.pad(a, (0, missing)) if missing else a
