"""The trainer: a loop that can be followed with a finger."""

import dataclasses
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from spiketrain import metrics
from spiketrain.config.schema import LoggerSettings, TrainerSettings
from spiketrain.data.dataset import Dataset, LabelledTrials, split_validation
from spiketrain.encoders.direct import Direct
from spiketrain.errors import CheckpointError, TrainingError
from spiketrain.losses import CrossEntropy
from spiketrain.training import devices, pictures, state, step
from spiketrain.training.callbacks import Callback
from spiketrain.training.checkpoint import Checkpoints, find, read_meta, restore, restore_newest, steps_in
from spiketrain.training.epochs import Epochs
from spiketrain.training.feed import feed_of
from spiketrain.training.health import require_finite, save_batch, what_is_not_finite
from spiketrain.training.log import RunLog
from spiketrain.training.memory import pieces_within
from spiketrain.training.processes import any_of, is_first, wait_for_all
from spiketrain.training.profile import Profile
from spiketrain.training.provenance import provenance
from spiketrain.training.result import result_of
from spiketrain.training.signals import Signals, leave
from spiketrain.training.warm_start import WarmStart, warm_start

log = logging.getLogger("spiketrain")

LEAST_RATE = 1 / 32  # of the learning rate, to which going back may halve it


class Trainer:
    """Train a model on a data set by back-propagation through time, evaluate it, and keep what can be resumed.

    Args:
        model: an `nnx.Module` that maps `(T, B, channels)` to potentials `(T, B, classes)`. A sequence of several of one
            structure is an ensemble: the k-th is trained with `seed + k`, all of them in one program.
        dataset: what to train and test on; part of `train` is held out as validation.
        optimizer: an optax transformation, or a function from the number of optimizer steps to one.
        loss: turns an output train into logits and a loss.
        encoder: turns a batch into an input train.
        augmentation: changes the input trains of training, as `spiketrain.augmentation.base.in_order` describes it.
        seed: of the order of trials and of everything that encoder and augmentation draw.
        settings: how long, how large, how often.
        logger: what to write while training.
        callbacks: what watches training, in this order.
        folder: the run's folder; None keeps everything in memory.
        config: what produced all this, saved with each checkpoint.

    Call it within `environ.context(dt=...)`.
    """

    def __init__(
        self,
        model: nnx.Module | Sequence[nnx.Module],
        dataset: Dataset,
        *,
        optimizer: optax.GradientTransformation | Callable[[int], optax.GradientTransformation],
        loss: CrossEntropy | None = None,
        encoder: Any = None,
        augmentation: Any = None,
        seed: int = 0,
        settings: TrainerSettings | None = None,
        logger: LoggerSettings | None = None,
        callbacks: Sequence[Callback] = (),
        folder: Path | str | None = None,
        config: dict[str, Any] | None = None,
    ):
        self.settings, self.logger = settings or TrainerSettings(), logger or LoggerSettings()
        self.folder = None if folder is None else Path(folder).absolute()
        self.config, self.seed = config or {}, seed
        self.members = 0 if isinstance(model, nnx.Module) else len(model)
        self.encoder, self.classes = encoder or Direct(), dataset.classes
        given, self.splits = self.settings, split(dataset, self.settings)
        if self.members and self.splits["train"].streams:
            raise TrainingError(
                "Members of an ensemble take different trials, and data.stream reads those of one batch."
            )
        self._over_time = _normalising(model if isinstance(model, nnx.Module) else model[0])
        if given.piece_steps is not None:
            self._require_pieces(f"trainer.piece_steps={given.piece_steps}")
        self.mesh = devices.mesh_of(given.devices, devices.part_of(given.batch_size, given.accumulate), given.fsdp)
        seeds = tuple(range(seed, seed + self.members)) if self.members else seed
        self.epochs = Epochs(
            self.splits["train"].lengths,
            batch_size=given.batch_size,
            seed=seeds,
            buckets=given.length_buckets,
        )
        self.steps_per_epoch = self.epochs.steps
        self.total_steps = given.epochs * self.steps_per_epoch
        tx = optimizer if isinstance(optimizer, optax.GradientTransformation) else optimizer(self.total_steps)
        averages = given.ema_decay is not None
        if isinstance(model, nnx.Module):
            leaves, self.layout = state.init(model, tx, ema=averages)
        else:
            leaves, self.layout = state.init_ensemble(model, tx, ema=averages)
        placed = [devices.in_parts(leaf, self.mesh) for leaf in leaves]
        self.leaves = [devices.put(leaf, sharding) for leaf, sharding in zip(leaves, placed, strict=True)]
        self.functions = step.Functions(
            self.layout,
            self.encoder,
            loss or CrossEntropy(),
            tx,
            self.mesh,
            placed=placed,
            seed=seeds,
            batch_size=given.batch_size,
            piece_steps=given.piece_steps,
            truncate=given.truncate,
            draws=not given.overfit_batch,
            accumulate=given.accumulate,
            ema_decay=given.ema_decay or 0.0,
            skips=given.non_finite == "skip",
            donates=not given.debug_nans,
            residuals=given.residuals,
            augmentation=augmentation,
            classes=dataset.n_classes,
        )
        # One program evaluates every split, in batches that the one evaluated most often does not have to fill up.
        often = self.splits.get("validation", self.splits["test"])
        most = min(given.eval_batch_size, max(len(often), given.batch_size))
        self.eval_size = -(-most // self.mesh.size) * self.mesh.size
        self._evaluate = self.functions.evaluate_batch()
        self._batches: dict[str, step.Batches] = {}
        self.callbacks: list[Callback] = [*callbacks, pictures.Pictures(self.logger)]
        self.step, self._saved, self._reason = 0, -1, ""
        self._waiting: list[metrics.Packed] = []
        self._checkpoints: Checkpoints | None = None
        self._profile = Profile(given.profile, total=self.total_steps)

    def fit(self) -> dict[str, Any]:
        """Train to the last epoch, evaluate on the test set, and return the result.

        The first SIGINT or SIGTERM ends training after the present step with a checkpoint, and then does what it would
        have done: KeyboardInterrupt, or the end of the process with 143.
        """
        with self._training() as signals:
            while self.step < self.total_steps and not self._reason:
                if self._epoch_is_over():
                    self.tell("on_epoch_start", self.step // self.steps_per_epoch)
                self._take_step()
                if self._is_time_to_log() and not self._log_training():
                    continue  # from the earlier step to which it went back
                if self._epoch_is_over():
                    self._end_epoch()
                if self._is_time_to_save():
                    self.save()
                self._look_around(signals)
            return self._finish()

    @contextmanager
    def _training(self) -> Iterator[Signals]:
        """Open what training needs, and close it however training ends."""
        self._feed = feed_of(
            self.splits["train"], self.epochs, self.mesh, steps=self.total_steps, workers=self.settings.workers
        )
        self._train_step = self._within_memory().train_step()
        self._open()
        try:
            with Signals(self.log.say) as signals, jax.debug_nans(self.settings.debug_nans):
                self._try_evaluation()
                self.tell("on_start")
                if self.settings.non_finite == "roll_back":
                    self.save()  # something to go back to
                yield signals
        except FloatingPointError as error:
            raise TrainingError(f"step {self.step + 1}, by trainer.debug_nans: {error}") from error
        finally:
            self._feed.close()
            self._profile.close()
            self.log.close()
            if self._checkpoints is not None:
                self._checkpoints.close()

    def _take_step(self) -> None:
        """Take one optimizer step; its sums stay on the device."""
        data, order, time_steps = self._feed.at(self.step)
        self._profile.before(self.step + 1)
        self.leaves, sums = self._train_step(self.leaves, data, order, steps=time_steps)
        self.step += 1
        self._profile.after(self.step, sums, self.log.say)
        self._waiting.append(sums)
        devices.keep_up(self._waiting)
        if not self.log.has_started:
            jax.block_until_ready(sums)
            self.log.started()

    def _look_around(self, signals: Signals) -> None:
        """See to what happened beside training: a checkpoint was written or could not be, a signal came."""
        if self._checkpoints is not None:
            self._checkpoints.poll()
        # Several processes ask each other, and so only now and then.
        agrees = jax.process_count() == 1 or self._is_time_to_log() or self._epoch_is_over()
        number = any_of(signals.received or 0) if agrees else 0
        if not number:
            return
        self.save()
        if self._checkpoints is not None:
            self._checkpoints.finish()
            self.log.say(f"stopped after step {self.step}; write `resume={self.folder}` to continue")
        leave(number)

    def _epoch_is_over(self) -> bool:
        return self.step % self.steps_per_epoch == 0

    def _is_time_to_log(self) -> bool:
        epoch = self.step // self.steps_per_epoch
        return self.step % self.settings.log_every_steps == 0 or self._epoch_is_over() and self._saves(epoch)

    def _is_time_to_save(self) -> bool:
        every = self.settings.save_every_steps
        return every is not None and self.step % every == 0

    def _saves(self, epoch: int) -> bool:
        return epoch == self.settings.epochs or epoch % self.settings.save_every == 0

    def stop(self, reason: str) -> None:
        """Let training end after the present step, as if its epochs were over."""
        self._reason = reason
        self.log.say(f"training ends at step {self.step}: {reason}")

    def multiply_rate(self, factor: float) -> None:
        """Multiply every later update by `factor`, besides what the schedule says."""
        self.leaves = self.layout.replace(self.leaves, "rate", self.rate * factor)

    @property
    def rate(self) -> float:
        """The factor of every update."""
        return float(np.max(self.layout.value(self.leaves, "rate")))

    def tell(self, event: str, *about: Any) -> None:
        """Call a method of every callback."""
        for callback in self.callbacks:
            getattr(callback, event)(self, *about)

    def save(self, validation: dict[str, float] | None = None) -> None:
        """Begin to write a checkpoint of the present step, unless there is one or a step before it was bad."""
        if self._checkpoints is None or self.step == self._saved or self._bad() >= 0:
            return
        waiting = [metrics.added(self._waiting)] if self._waiting else []
        self._waiting = list(waiting)
        meta = {
            "config": self.config,
            "provenance": self.provenance,
            "metrics": {f"validation/{k}": v for k, v in (validation or {}).items()},
            "waiting": [metrics.as_json(sums) for sums in waiting],
            "callbacks": {name: callback.state() for name, callback in self._named_callbacks().items()},
            "stopped": self._reason,
        }
        self._checkpoints.save(self.step, self.leaves, self.layout, meta)
        self._saved = self.step
        self.tell("on_checkpoint", self._checkpoints.folder / str(self.step))

    def resume(self) -> None:
        """Continue from the newest readable checkpoint in the folder, or from the beginning where there is none yet."""
        assert self.folder is not None
        if not steps_in(self.folder / "checkpoints"):
            log.warning("%s holds no checkpoint yet. The run starts from the beginning.", self.folder)
            return
        self._go_back()
        if self.step > self.total_steps:
            raise CheckpointError(
                f"{self.folder} is at step {self.step}, beyond the {self.total_steps} steps of trainer.epochs="
                f"{self.settings.epochs}. Raise trainer.epochs."
            )

    def start_from(self, path: Path) -> WarmStart:
        """Take the parameters of another run, as far as they fit, and return which did."""
        self.leaves, report = warm_start(self.leaves, self.layout, self.functions.tx, path)
        return report

    def _go_back(self) -> None:
        """Take everything from the newest readable checkpoint."""
        assert self.folder is not None
        if self._checkpoints is not None:
            self._checkpoints.wait()
        self.leaves, found = restore_newest(self.folder / "checkpoints", self.leaves, self.layout)
        meta = read_meta(found)
        try:
            self.step = self._saved = meta["step"]
            self._reason = str(meta["stopped"])
            self._waiting = [metrics.from_json(kept) for kept in meta["waiting"]]
            for name, callback in self._named_callbacks().items():
                if (kept := meta["callbacks"].get(name)) is not None:
                    callback.load(kept)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"{found} cannot be used: its meta data is not what a run writes ({error!r})."
            ) from error

    def _named_callbacks(self) -> dict[str, Callback]:
        """Return the callbacks by their classes, numbered where there are several of one."""
        named: dict[str, Callback] = {}
        for callback in self.callbacks:
            kind = type(callback).__name__
            same = sum(type(other) is type(callback) for other in named.values())
            named[f"{kind}/{same}" if same else kind] = callback
        return named

    def restore(self, step_folder: Path, *, member: int | None = None) -> None:
        """Take the state of one checkpoint; into a trainer of one model, that of one member of an ensemble."""
        if member is None:
            self.leaves = restore(step_folder, self.leaves, self.layout)
        else:
            members = read_meta(step_folder)["config"]["ensemble"]
            like = [jnp.stack([leaf] * members) for leaf in self.leaves]
            of_all = restore(step_folder, like, self.layout)
            self.leaves = [devices.put(x[member], leaf.sharding) for x, leaf in zip(of_all, self.leaves, strict=True)]
        self.step = read_meta(step_folder)["step"]

    def evaluate(self, name: str) -> dict[str, float]:
        """Return the metrics of a split, `train`, `validation` or `test`, exact over its trials.

        Those of an ensemble are the means over its members.
        """
        return metrics.means(self._sums(name))

    def evaluate_members(self, name: str) -> list[dict[str, float]]:
        """Return the metrics of a split for each member of an ensemble."""
        return metrics.means_of_members(self._sums(name), self.members)

    def _sums(self, name: str) -> list[metrics.Packed]:
        sums: list[metrics.Packed] = []
        for batch in self._batches_of(name):
            sums.append(self._evaluate(self.leaves, batch))
            devices.keep_up(sums)
        return sums

    def _batches_of(self, name: str) -> step.Batches:
        if name not in self._batches:
            self._batches[name] = step.batches(self.splits[name], self.eval_size, self.mesh)
        return self._batches[name]

    def _try_evaluation(self) -> None:
        """Compile the evaluation, so that what it cannot do is seen before the first step, not after an epoch."""
        if "validation" in self.splits:
            jax.block_until_ready(self._evaluate(self.leaves, next(iter(self._batches_of("validation")))))

    def picture(self, trial: int = 0) -> Any:
        """Return a figure of one held-out trial: input, rasters, traces, readout. All processes must ask."""
        return pictures.of_one_trial(self, devices.on_one(self.leaves, self.mesh), trial)

    def _end_epoch(self) -> None:
        """Evaluate on the validation split and save, where it is time."""
        epoch = self.step // self.steps_per_epoch
        saves = self._saves(epoch)
        validation: dict[str, float] = {}
        if "validation" in self.splits and (saves or epoch % self.settings.evaluate_every == 0):
            validation = self.evaluate("validation")
            require_finite("validation", validation, self.step)
            self.log.scalars(self.step, "validation", validation)
            self.tell("on_evaluation", "validation", validation)
        self.tell("on_epoch_end", epoch)
        if saves or self._reason:
            self.save(validation)

    def _bad(self) -> int:
        """Return the first step whose loss or gradient was not finite and that ends or sets back training, or -1."""
        of_members = np.atleast_1d(self.layout.value(self.leaves, "bad"))
        return int(min((step for step in of_members if step >= 0), default=-1))

    def _log_training(self) -> bool:
        """Record what was not recorded yet, and return whether training goes on from here, not from an earlier step."""
        if (bad := self._bad()) >= 0:
            self._not_finite(bad)
            return False
        means = metrics.means(self._waiting)
        if means.get("skipped") == 1:
            raise TrainingError(
                f"every step since training was last logged was left out, up to step {self.step}: loss or gradient was not "
                "finite. Lower the learning rate, or clip the gradient (optimizer.clip_norm)."
            )
        require_finite("train", means, self.step)
        self.log.scalars(self.step, "train", means, epoch=self.step / self.steps_per_epoch)
        self._waiting.clear()
        self.tell("on_log", means)
        return True

    def _not_finite(self, bad: int) -> None:
        """Go back to the last checkpoint with updates of half the size, or say where the number came from."""
        data, order, _ = self._feed.at(bad)
        what = what_is_not_finite(self.functions, self.leaves, data, order, bad)
        halved = self.rate / 2
        if self.settings.non_finite != "roll_back" or halved < LEAST_RATE:
            saved = ""
            if self.folder is not None and is_first():
                path = self.folder / "not_finite.npz"
                save_batch(path, data, np.asarray(self.functions.rows(order, bad)), self.epochs.rows(bad), bad)
                saved = f" Its batch is in {path}."
            raise TrainingError(
                f"{what}, which was not taken.{saved} Lower the learning rate, clip the gradient (optimizer.clip_norm), "
                "or write `trainer.non_finite=skip` or `trainer.non_finite=roll_back`."
            )
        self._go_back()
        self.leaves = self.layout.replace(self.leaves, "rate", halved)
        self.log.back_to(self.step)
        log.warning("%s. Training goes back to step %d, with %g of the learning rate.", what, self.step, halved)

    def _finish(self) -> dict[str, Any]:
        """Save the end, evaluate the checkpoint that `trainer.final` names, and write the result."""
        self.save()
        self.log.finished()
        if self._checkpoints is not None:
            self._checkpoints.finish()
        wait_for_all("the last checkpoint")
        if self.folder is not None:
            self.restore(find(self.folder, self.settings.final, self.settings.monitor))
        result = result_of(self)
        self.log.hyperparameters(self.config, {f"final/{k}": v for k, v in result["test"].items()})
        self._write(result)
        self.tell("on_end", result)
        self._write(result)  # with what callbacks added to it
        return result

    def _write(self, result: dict[str, Any]) -> None:
        if self.folder is not None and is_first():
            (self.folder / "result.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")

    def _within_memory(self) -> step.Functions:
        """Return the functions of training with trials in the pieces that `memory_mb` asks for."""
        if self.settings.memory_mb is None:
            return self.functions
        data, order, _ = self._feed.at(self.step)
        steps = pieces_within(
            self.settings.memory_mb,
            self.functions.length(data),
            lambda steps: self._temporaries(data, order, steps),
        )
        return dataclasses.replace(self.functions, piece_steps=steps)

    def _temporaries(self, data: step.SplitData, order: jax.Array, steps: int | None) -> int:
        if steps is not None:
            self._require_pieces(f"trainer.memory_mb={self.settings.memory_mb:g}")
        return self.functions.temporaries(self.leaves, data, order, steps)

    def _require_pieces(self, setting: str) -> None:
        if self._over_time:
            raise TrainingError(
                f"{setting} cuts trials into pieces, and the model normalises over whole trials in "
                f"{', '.join(self._over_time)}. Write null for it and a smaller trainer.batch_size, or leave out those layers."
            )

    def _open(self) -> None:
        """Open what is written while training."""
        self.provenance = provenance()
        if self.folder is not None:
            if beyond := [s for s in steps_in(self.folder / "checkpoints") if s > self.step]:
                raise CheckpointError(
                    f"{self.folder} already holds a run, with a checkpoint of step {beyond[-1]}. Call `resume()` "
                    "before `fit()`, or choose another folder."
                )
            best = self.settings.keep_best if "validation" in self.splits else 0
            self._checkpoints = Checkpoints(self.folder / "checkpoints", keep_best=best, monitor=self.settings.monitor)
        elif self.settings.non_finite == "roll_back":
            raise TrainingError("trainer.non_finite=roll_back needs a folder for the checkpoints that it goes back to.")
        self._profile.open(self.folder)
        self.log = RunLog(
            self.folder if is_first() else None,
            total_steps=self.total_steps,
            first_step=self.step,
            tensorboard=self.logger.tensorboard,
            progress=self.logger.progress and is_first(),
        )


def _normalising(model: nnx.Module) -> list[str]:
    """Return the layers that average over the steps of a trial in training."""
    return ["/".join(map(str, path)) for path, part in nnx.iter_modules(model) if isinstance(part, nnx.BatchNorm)]


def split(dataset: Dataset, settings: TrainerSettings) -> dict[str, LabelledTrials]:
    """Return the splits by name. The test set is never part of another, nor a part of it chosen on."""
    if settings.overfit_batch:
        one = dataset.train.take(np.arange(min(settings.batch_size, len(dataset.train))))
        return {"train": one, "test": one}
    if dataset.validation is not None:
        return {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    train, validation = split_validation(dataset.train, settings.validation_fraction, settings.validation_seed)
    held = {} if validation is None else {"validation": validation}
    return {"train": train, **held, "test": dataset.test}
