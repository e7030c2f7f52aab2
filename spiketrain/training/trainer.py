"""The trainer: a loop that can be followed with a finger."""

import dataclasses
import json
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from spiketrain import metrics
from spiketrain.config.schema import LoggerSettings, TrainerSettings
from spiketrain.data.dataset import Dataset, Split, split_validation
from spiketrain.encoders.direct import Direct
from spiketrain.environ import dt_in_seconds
from spiketrain.errors import CheckpointError, TrainingError
from spiketrain.losses import CrossEntropy
from spiketrain.training import devices, pictures, state, step
from spiketrain.training.buckets import Buckets
from spiketrain.training.checkpoint import Checkpoints, find, read_meta, restore, restore_newest, steps_in
from spiketrain.training.log import RunLog
from spiketrain.training.memory import pieces_within
from spiketrain.training.profile import Profile
from spiketrain.training.provenance import provenance

log = logging.getLogger("spiketrain")


class Trainer:
    """Train a model on a data set by back-propagation through time, evaluate it, and keep what can be resumed.

    Args:
        model: an `nnx.Module` that maps `(T, B, channels)` to potentials `(T, B, classes)`.
        dataset: what to train and test on; part of `train` is held out as validation.
        optimizer: an optax transformation, or a function from the number of optimizer steps to one.
        loss: turns an output train into logits and a loss.
        encoder: turns a batch into an input train.
        seed: of the order of trials and of everything the encoder draws.
        settings: how long, how large, how often.
        logger: what to write while training.
        folder: the run's folder; None keeps everything in memory.
        config: what produced all this, saved with each checkpoint.

    Call it within `environ.context(dt=...)`.
    """

    def __init__(
        self,
        model: nnx.Module,
        dataset: Dataset,
        *,
        optimizer: optax.GradientTransformation | Callable[[int], optax.GradientTransformation],
        loss: CrossEntropy | None = None,
        encoder: Any = None,
        seed: int = 0,
        settings: TrainerSettings | None = None,
        logger: LoggerSettings | None = None,
        folder: Path | str | None = None,
        config: dict[str, Any] | None = None,
    ):
        self.settings, self.logger = settings or TrainerSettings(), logger or LoggerSettings()
        self.folder = None if folder is None else Path(folder).absolute()
        self.config, self.seed = config or {}, seed
        self.encoder, self.classes = encoder or Direct(), dataset.classes
        self.splits = split(dataset, self.settings)
        trials = len(self.splits["train"])
        self.steps_per_epoch = step.steps_per_epoch(trials, self.settings.batch_size)
        self.total_steps = self.settings.epochs * self.steps_per_epoch
        tx = optimizer if isinstance(optimizer, optax.GradientTransformation) else optimizer(self.total_steps)
        leaves, self.layout = state.init(model, tx)
        self.mesh = devices.mesh_of(self.settings.devices, self.settings.batch_size)
        self.leaves = jax.device_put(leaves, devices.whole(self.mesh))
        self.functions = step.Functions(
            self.layout,
            self.encoder,
            loss or CrossEntropy(),
            tx,
            self.mesh,
            seed=seed,
            batch_size=self.settings.batch_size,
            piece_steps=self.settings.piece_steps,
            truncate=self.settings.truncate,
            draws=not self.settings.overfit_batch,
            residuals=self.settings.residuals,
        )
        held = [len(s) for name, s in self.splits.items() if name != "train"]
        most = min(self.settings.eval_batch_size, max(held))
        self.eval_size = -(-most // self.mesh.size) * self.mesh.size
        self._evaluate = self.functions.evaluate_batch()
        self._batches: dict[str, list[step.Data]] = {}
        self.step, self._warned = 0, False
        self._buckets = None
        if count := self.settings.length_buckets:
            lengths = self.splits["train"].lengths
            self._buckets = Buckets(lengths, count=count, batch_size=self.settings.batch_size, seed=seed)
        self._profile = Profile(self.settings.profile, total=self.total_steps)

    def fit(self) -> dict[str, Any]:
        """Train to the last epoch, evaluate on the test set, and return the result."""
        data = step.on_devices(self.splits["train"], self.mesh)
        train_step, order = self._within_memory(data).train_step(), None
        checkpoints = self._checkpoints()
        self._profile.open(self.folder)
        self.log = self._open_log()
        waiting: list[metrics.Sums] = []
        first = self.step
        try:
            while self.step < self.total_steps:
                epoch, position = divmod(self.step, self.steps_per_epoch)
                if order is None or position == 0:
                    order, steps = self._order(epoch)
                self._profile.before(self.step + 1)
                self.leaves, sums = train_step(self.leaves, data, order, steps=steps[position])
                self.step += 1
                self._profile.after(self.step, sums, self.log.say)
                waiting.append(sums)
                if self.step == first + 1:
                    jax.block_until_ready(sums)
                    self.log.started()
                ends = position + 1 == self.steps_per_epoch
                if self.step % self.settings.log_every_steps == 0 or ends and self._saves(epoch + 1):
                    self._log_training(waiting)
                if ends:
                    self._end_of_epoch(epoch + 1, checkpoints)
            self.log.finished()
            if checkpoints is not None:
                checkpoints.wait()
            return self._finish()
        finally:
            self._profile.close()
            self.log.close()
            if checkpoints is not None:
                checkpoints.close()

    def resume(self) -> None:
        """Continue from the newest readable checkpoint in the folder, or from the beginning where there is none yet."""
        assert self.folder is not None
        if not steps_in(self.folder / "checkpoints"):
            log.warning("%s holds no checkpoint yet. The run starts from the beginning.", self.folder)
            return
        self.leaves, found = restore_newest(self.folder / "checkpoints", self.leaves, self.layout)
        self.step = read_meta(found)["step"]
        if self.step > self.total_steps:
            raise CheckpointError(
                f"{found} is at step {self.step}, beyond the {self.total_steps} steps of trainer.epochs="
                f"{self.settings.epochs}. Raise trainer.epochs."
            )

    def restore(self, step_folder: Path) -> None:
        """Take the state of one checkpoint."""
        self.leaves = restore(step_folder, self.leaves, self.layout)
        self.step = read_meta(step_folder)["step"]

    def evaluate(self, name: str) -> dict[str, float]:
        """Return the metrics of a split, `train`, `validation` or `test`, exact over its trials."""
        if name not in self._batches:
            self._batches[name] = step.batches(self.splits[name], self.eval_size, self.mesh)
        return metrics.means([self._evaluate(self.leaves, batch) for batch in self._batches[name]])

    def picture(self, trial: int = 0) -> Any:
        """Return a figure of one held-out trial: input, rasters, traces, readout."""
        name = "validation" if "validation" in self.splits else "test"
        one = self.splits[name].take(np.array([trial]))
        frames = jnp.asarray(one.x[:, : int(one.lengths[0])]).swapaxes(0, 1)
        x, _ = self.encoder(frames, jnp.ones(frames.shape[:2], bool))
        out, spikes, V = pictures.record(self.layout.evaluation_model(self.leaves), x)
        title = f"{name} trial {trial}, class {self.classes[int(one.y[0])]}, step {self.step}"
        return pictures.raster_and_traces(np.asarray(x), out, spikes, V, title=title, dt_ms=dt_in_seconds() * 1e3)

    def _end_of_epoch(self, epoch: int, checkpoints: Checkpoints | None) -> None:
        saves = self._saves(epoch)
        validation: dict[str, float] = {}
        if "validation" in self.splits and (saves or epoch % self.settings.evaluate_every == 0):
            validation = self.evaluate("validation")
            self.log.scalars(self.step, "validation", self._finite("validation", validation))
        if epoch == self.settings.epochs or epoch % self.logger.pictures_every == 0:
            self._draw()
        if saves and checkpoints is not None:
            monitored = {f"validation/{k}": v for k, v in validation.items()}
            meta = {"config": self.config, "provenance": self.provenance, "metrics": monitored}
            checkpoints.save(self.step, self.leaves, self.layout, meta)

    def _saves(self, epoch: int) -> bool:
        return epoch == self.settings.epochs or epoch % self.settings.save_every == 0

    def _log_training(self, waiting: list[metrics.Sums]) -> None:
        """Record what was not recorded yet. It also precedes every checkpoint, so that a resumed run repeats it."""
        means = self._finite("train", metrics.means(waiting))
        self.log.scalars(self.step, "train", means, epoch=self.step / self.steps_per_epoch)
        waiting.clear()

    def _finite(self, name: str, means: dict[str, float]) -> dict[str, float]:
        wrong = [metric for metric, value in means.items() if not math.isfinite(value)]
        if wrong:
            raise TrainingError(
                f"{name} {wrong[0]} is {means[wrong[0]]} at step {self.step}: training has diverged. Lower the learning "
                "rate, or clip the gradient (optimizer.clip_norm). Checkpoints up to the last finite one are kept."
            )
        return means

    def _finish(self) -> dict[str, Any]:
        if self.folder is not None:
            self.restore(find(self.folder, self.settings.final))
        result: dict[str, Any] = {
            "step": self.step,
            "seed": self.seed,
            "parameters": sum(x.size for x in jax.tree.leaves(self.layout.state(self.leaves).params)),
            "devices": self.mesh.size,
            "seconds": round(self.log.seconds, 2),
        }
        for name in ("validation", "test"):
            if name in self.splits:
                result[name] = self.evaluate(name)
        compiled = self.log.compiled
        result |= {"compilations": compiled.programs, "compile_seconds": round(compiled.seconds, 2)}
        self.log.hyperparameters(self.config, {f"final/{k}": v for k, v in result["test"].items()})
        if self.folder is not None:
            (self.folder / "result.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        return result

    def _within_memory(self, data: step.Data) -> step.Functions:
        """Return the functions of training with trials in the pieces that `memory_mb` asks for."""
        if self.settings.memory_mb is None:
            return self.functions
        order, _ = self._order(0)
        steps = pieces_within(
            self.settings.memory_mb,
            self.functions.length(data),
            lambda steps: self.functions.temporaries(self.leaves, data, order, steps),
        )
        return dataclasses.replace(self.functions, piece_steps=steps)

    def _order(self, epoch: int) -> tuple[jax.Array, Sequence[int | None]]:
        """Return the trials of an epoch in order, and the number of time steps that each of its batches needs."""
        steps: Sequence[int | None] = [None] * self.steps_per_epoch
        if self._buckets is None:
            order = step.order_of_epoch(self.seed, epoch, len(self.splits["train"]))
        else:
            order, steps = self._buckets.order(epoch)
        return jax.device_put(order, devices.whole(self.mesh)), steps

    def _checkpoints(self) -> Checkpoints | None:
        self.provenance = provenance()
        if self.folder is None:
            return None
        if beyond := [s for s in steps_in(self.folder / "checkpoints") if s > self.step]:
            raise CheckpointError(
                f"{self.folder} already holds a run, with a checkpoint of step {beyond[-1]}. Call `resume()` before "
                "`fit()`, or choose another folder."
            )
        measured = "validation" in self.splits
        return Checkpoints(self.folder / "checkpoints", keep_best=self.settings.keep_best if measured else 0)

    def _open_log(self) -> RunLog:
        return RunLog(
            self.folder,
            total_steps=self.total_steps,
            first_step=self.step,
            tensorboard=self.logger.tensorboard,
            progress=self.logger.progress,
        )

    def _draw(self) -> None:
        if self.folder is None:
            return
        names = [name for name in self.layout.names if name.startswith("params/")]
        self.log.histograms(self.step, dict(zip(names, map(np.asarray, self.leaves), strict=False)))
        if not self.logger.pictures:
            return
        try:
            figure = self.picture()
        except ImportError as error:
            if not self._warned:
                log.warning("%s Or switch them off with logger.pictures=false.", error)
            self._warned = True
            return
        pictures.save(figure, self.folder / "pictures" / f"step_{self.step:06d}.png")
        self.log.picture(self.step, "raster_and_traces", pictures.pixels(figure))


def split(dataset: Dataset, settings: TrainerSettings) -> dict[str, Split]:
    """Return the splits by name. The test set is never part of another, nor a part of it chosen on."""
    if settings.overfit_batch:
        one = dataset.train.take(np.arange(min(settings.batch_size, len(dataset.train))))
        return {"train": one, "test": one}
    train, validation = split_validation(dataset.train, settings.validation_fraction, settings.validation_seed)
    held = {} if validation is None else {"validation": validation}
    return {"train": train, **held, "test": dataset.test}
