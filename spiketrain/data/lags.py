"""A made task that only timing solves: each channel is echoed by another, and the class is how long after."""

import numpy as np

from spiketrain.data.dataset import Dataset, Split
from spiketrain.errors import DataError


def load_lags(
    classes: int = 5,
    pairs: int = 10,
    steps: int = 100,
    shortest: int = 5,
    longest: int = 25,
    rate: float = 0.03,
    jitter: int = 0,
    train_trials: int = 2000,
    test_trials: int = 1000,
    seed: int = 0,
) -> Dataset:
    """Make trials of pairs of channels, of which the second repeats the spikes of the first after a lag.

    The first channel of a pair fires at random, independently in every step. A class is a lag for every pair, a whole
    number of steps, drawn once; each spike of the echo is moved by the jitter. The echo of what came before the trial
    is in it, so every channel fires equally often at any time in every class: neither the number of spikes nor the
    time of any one of them says anything about the class, only which spikes lie a lag apart.

    Args:
        classes: how many there are.
        pairs: half the number of channels; pair p is the channels p and `pairs` + p.
        steps: the length of a trial.
        shortest: the shortest lag.
        longest: the longest lag.
        rate: the probability of a spike in a step of a first channel.
        jitter: each spike of an echo is moved by at most so many steps, earlier or later, uniformly; at most `shortest`.
        train_trials: their number, classes in equal parts.
        test_trials: the same.
        seed: of classes and trials.

    Raises:
        DataError: a number does not fit the others, or there is no trial of every class.
    """
    if min(pairs, steps, classes) < 1 or min(train_trials, test_trials) < classes:
        raise DataError(
            f"load_lags(classes={classes}, pairs={pairs}, steps={steps}, train_trials={train_trials}, "
            f"test_trials={test_trials}) needs one of each at least, and a trial of every class in each split."
        )
    if not (0 <= jitter <= shortest <= longest and 0 <= rate <= 1):
        raise DataError(
            f"load_lags(jitter={jitter}, shortest={shortest}, longest={longest}, rate={rate}) needs "
            "0 <= jitter <= shortest <= longest and a rate between 0 and 1."
        )
    rng = np.random.default_rng(seed)
    lags = rng.integers(shortest, longest + 1, (classes, pairs))
    before = longest + jitter

    def split(trials: int) -> Split:
        y = rng.permutation(np.arange(trials) % classes)
        first = rng.random((trials, before + steps, pairs)) < rate
        trial, time, pair = np.nonzero(first)
        time = time + lags[y[trial], pair] + rng.integers(-jitter, jitter + 1, len(trial))
        echo = np.zeros((trials, 2 * before + steps, pairs), bool)
        echo[trial, time, pair] = True
        x = np.concatenate([first[:, before:], echo[:, before : before + steps]], axis=2)
        return Split(x, np.full(trials, steps), y)

    return Dataset("lags", split(train_trials), split(test_trials), tuple(f"lags {i}" for i in range(classes)))
