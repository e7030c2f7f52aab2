"""What callbacks are told and may ask for; averages of parameters, and parts of a batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_trainer import metrics_of, trainer

from spiketrain.encoders.direct import Direct
from spiketrain.errors import TrainingError
from spiketrain.losses import CrossEntropy
from spiketrain.training import step
from spiketrain.training.callbacks import Callback
from spiketrain.training.checkpoint import steps_in

pytestmark = pytest.mark.usefixtures("one_ms")


class Spy(Callback):
    """Writes down what it is told, and remembers how often."""

    def __init__(self, **at):
        self.told, self.count, self.at = [], 0, at

    def hear(self, trainer, event):
        self.told.append((event, trainer.step))
        self.count += 1
        if self.at.get(event) == trainer.step:
            self.act(trainer)

    def act(self, trainer):
        trainer.stop("enough")

    def on_start(self, trainer):
        self.hear(trainer, "start")

    def on_log(self, trainer, means):
        assert means["loss"] > 0
        self.hear(trainer, "log")

    def on_evaluation(self, trainer, split, metrics):
        assert split == "validation" and 0 <= metrics["accuracy"] <= 1
        self.hear(trainer, "evaluation")

    def on_epoch_end(self, trainer, epoch):
        assert epoch == trainer.step // trainer.steps_per_epoch
        self.hear(trainer, "epoch")

    def on_checkpoint(self, trainer, folder):
        assert folder.name == str(trainer.step)
        self.hear(trainer, "checkpoint")

    def on_end(self, trainer, result):
        assert result["test"]["accuracy"] >= 0
        self.hear(trainer, "end")

    def state(self):
        return {"count": self.count}

    def load(self, state):
        self.count = state["count"]


def test_a_callback_is_told_everything_in_order(tmp_path):
    spy = Spy()
    t = trainer(folder=tmp_path / "run", epochs=2, log_every_steps=2)
    t.callbacks.insert(0, spy)
    t.fit()
    n = t.steps_per_epoch
    assert n == 2
    epoch = [("log", 2), ("evaluation", 2), ("epoch", 2), ("checkpoint", 2)]
    after = [(event, step + 2) for event, step in epoch]
    assert spy.told == [("start", 0), *epoch, *after, ("end", 4)]


@pytest.mark.parametrize("event", ["evaluation", "log", "start"])
def test_a_callback_ends_a_run_and_it_stays_ended(tmp_path, event):
    folder, at = tmp_path / "run", 0 if event == "start" else 2
    t = trainer(folder=folder, epochs=4, log_every_steps=2)
    t.callbacks.insert(0, Spy(**{event: at}))
    result = t.fit()
    assert result["step"] == t.step == at and steps_in(folder / "checkpoints")[-1] == at
    again = trainer(folder=folder, epochs=4, log_every_steps=2)
    spy = Spy()
    again.callbacks.insert(0, spy)
    again.resume()
    assert spy.count == t.callbacks[0].count - 2  # a checkpoint was kept before it was told of it, and of the end
    assert metrics_of(again.fit()) == metrics_of(result)


def test_without_noise_parts_of_a_batch_are_the_batch():
    results = {}
    for parts in (1, 2, 4):
        t = trainer(dropout=0.0, batch_size=8, accumulate=parts, epochs=2, loss=CrossEntropy())
        t.functions = step.Functions(**{**vars(t.functions), "encoder": Direct()})
        t.encoder = Direct()
        results[parts] = t.fit(), [np.asarray(x) for x in t.leaves]
    for parts in (2, 4):
        for a, b in zip(results[parts][1], results[1][1], strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)
    assert results[1][0]["test"]["rate_hz/spiking/0"] > 1


def test_parts_of_a_batch_draw_their_own_noise():
    t = trainer(dropout=0.0, batch_size=8, accumulate=2, overfit_batch=False)
    seen = []
    data, order = step.on_devices(t.splits["train"], t.mesh), jnp.zeros(24, jnp.int32)

    class Spy(Direct):
        def __call__(self, x, mask, key=None):
            found = super().__call__(x, mask, key)
            jax.debug.callback(lambda x: seen.append(np.asarray(x)), found[0])
            return found

    functions = step.Functions(**{**vars(t.functions), "encoder": Spy(noise=0.2)})
    functions.train_step()(t.leaves, data, order)
    jax.effects_barrier()
    assert len(seen) == 2 and not np.array_equal(seen[0], seen[1])


def test_parts_must_divide_the_batch():
    with pytest.raises(
        TrainingError, match=r"trainer.accumulate=2 does not divide trainer.batch_size=7. .*batch_size=8"
    ):
        trainer(accumulate=2)


def test_the_average_of_parameters_follows_its_equation_and_is_what_evaluation_sees():
    t = trainer(ema_decay=0.8, dropout=0.0)
    data, train_step = step.on_devices(t.splits["train"], t.mesh), t.functions.train_step()
    names = t.layout.names
    (i,), (j,) = (
        [n for n, name in enumerate(names) if name == f"{kind}/linear/0/kernel"] for kind in ("params", "ema")
    )
    mean = np.asarray(t.leaves[i], np.float64)
    np.testing.assert_array_equal(t.leaves[j], t.leaves[i])
    for _ in range(4):
        t.leaves, _ = train_step(t.leaves, data, t.epochs.order(0)[0])
        mean = 0.8 * mean + 0.2 * np.asarray(t.leaves[i], np.float64)
        np.testing.assert_allclose(t.leaves[j], mean, rtol=1e-5, atol=1e-6)
    assert np.abs(np.asarray(t.leaves[i]) - mean).max() > 0.01
    model = t.layout.evaluation_model(t.leaves)
    np.testing.assert_array_equal(model.linear[0].kernel[...], t.leaves[j])
