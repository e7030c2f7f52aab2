"""From a checked configuration to a trained, evaluated run, and back from a checkpoint."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import brainunit as u
import jax
import yaml
from flax import nnx

from spiketrain import environ
from spiketrain.config import build, schema
from spiketrain.config.check import check, check_plugins
from spiketrain.encoders.base import channels_of
from spiketrain.errors import CheckpointError, ConfigError, TrainingError
from spiketrain.training.checkpoint import find, newest_readable, read_meta
from spiketrain.training.folder import failure_recorded, held, settle
from spiketrain.training.processes import agreed, is_first, join
from spiketrain.training.saved import DamagedCheckpointError
from spiketrain.training.size import check_size
from spiketrain.training.trainer import Trainer


def make_trainer(
    config: dict[str, Any], folder: Path | None, like: Path | None = None, *, members: int | None = None
) -> Trainer:
    """Build data, models, loss and optimizer of a checked configuration.

    Args:
        config: the configuration.
        folder: the folder of the run; None records nothing.
        like: a step that holds the arrays of the model, which is refused before it takes memory if it has others.
        members: how many models that step holds; as many as the configuration says unless it is given.
    """
    dataset = build.build("data", config["data"])
    encoder = build.build("encoder", config["encoder"])
    n_in = channels_of(encoder, dataset.n_channels)

    def model(seed: int) -> nnx.Module:
        return build.build("model", config["model"], n_in, dataset.n_classes, rngs=nnx.Rngs(seed))

    check_size(lambda: model(0), like, members=members or config["ensemble"])
    models = [model(seed) for seed in range(config["seed"], config["seed"] + config["ensemble"])]
    return Trainer(
        models if len(models) > 1 else models[0],
        dataset,
        optimizer=lambda steps: build.optimizer(config, steps),
        loss=build.build("loss", config["loss"]),
        encoder=encoder,
        augmentation=build.augmentation(config),
        seed=config["seed"],
        settings=schema.TrainerSettings(**config["trainer"]),
        logger=schema.LoggerSettings(**config["logger"]),
        callbacks=[build.build("callback", {"name": name, **c}) for name, c in config["callbacks"].items()],
        folder=folder,
        config=config,
    )


def train(
    config: dict[str, Any], folder: Path, *, named: bool = True, resume: bool = False
) -> tuple[Path, dict[str, Any]]:
    """Train, evaluate and record a run. Nothing is written before everything is built.

    Args:
        config: a checked configuration.
        folder: where the run is recorded.
        named: whether that very folder is wanted; otherwise a run that finds it taken gets `folder_2`, `folder_3`.
        resume: continue the run in `folder`.

    Returns:
        The run's folder and its result.
    """
    folder = settle(folder, named=named, resume=resume)
    with contextlib.ExitStack() as stack:
        stack.enter_context(environ.context(dt=config["dt_ms"] * u.ms))
        if config["distributed"]:
            join()
        trainer = make_trainer(config, folder, newest_readable(folder / "checkpoints") if resume else None)
        own = stack.enter_context(held(folder, named=named, resume=resume)) if is_first() else None
        trainer.folder = folder = agreed(own)
        if is_first():
            stack.enter_context(failure_recorded(folder))
        if resume:
            trainer.resume()
        if config["init_from"] and not trainer.step:
            say(trainer.start_from(Path(config["init_from"])))
        say(f"run folder: {folder}" + (f", after step {trainer.step}" if trainer.step else ""))
        if is_first():
            if trainer.step < trainer.total_steps:
                (folder / "result.json").unlink(missing_ok=True)  # that of a run that was shorter
            _write(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
        try:
            return folder, trainer.fit()
        except jax.errors.JaxRuntimeError as error:
            if jax.process_count() == 1:
                raise
            raise TrainingError(
                f"another process of the run has ended or cannot be reached ({str(error).splitlines()[0]}). Start all of "
                f"them again with `resume={folder}`."
            ) from error


def say(what: Any) -> None:
    """Print a line, once for all processes."""
    if is_first():
        print(what, flush=True)


def _write(path: Path, text: str) -> None:
    """Replace a file as a whole: a kill leaves the old one or the new one."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def evaluate(path: Path, *, split: str = "test", **how: Any) -> tuple[dict[str, Any], dict[str, float]]:
    """Evaluate a checkpoint by itself; arguments and errors are those of `restored`.

    Returns:
        The checkpoint's meta data and the metrics.
    """
    with restored(path, split=split, **how) as (meta, trainer):
        return meta, trainer.evaluate(split)


def members_of(path: Path, *, which: str = "last", plugins: Sequence[str] = ()) -> int:
    """Return how many models a checkpoint holds: one, or the members of an ensemble.

    Raises:
        CheckpointError: there is no such checkpoint, or it is damaged.
        ConfigError: its configuration does not pass the check.
    """
    return _config_of(_found(path, which, plugins), plugins)["ensemble"]


@contextlib.contextmanager
def restored(
    path: Path,
    *,
    which: str = "last",
    split: str = "test",
    plugins: Sequence[str] = (),
    data: dict[str, Any] | None = None,
    member: int | None = None,
) -> Iterator[tuple[dict[str, Any], Trainer]]:
    """Yield the meta data of a checkpoint and its trainer, as it was then, within its time step.

    Args:
        path: a run folder or the folder of one step.
        which: `last`, `best` or a step number, for a run folder.
        split: `train`, `validation` or `test`, which the trainer must have.
        plugins: the packages that have been imported for it.
        data: what to set in the `data` section of its configuration, all of it anew where `name` is set. Encoder,
            loss and the part that is held out for validation stay those of the run.
        member: which member of an ensemble, from 0; None takes all of them as one ensemble.

    Raises:
        CheckpointError: there is no such checkpoint, or it is damaged.
        ConfigError: its configuration does not pass the check, or names packages that are not in `plugins`; there is
            no such split; no such member; or `data` has other channels or classes than the model.
    """
    found = _found(path, which, plugins)
    meta, config = read_meta(found), _config_of(found, plugins)
    members = config["ensemble"]
    if members == 1:
        member = None
    if member is not None:
        if not 0 <= member < members:
            raise ConfigError(f"--member {member}: {found} has the members 0 to {members - 1}.")
        config |= {"seed": config["seed"] + member, "ensemble": 1}
    config["trainer"]["fsdp"] = 1
    if (config["trainer"]["devices"] or 1) > jax.device_count():
        config["trainer"]["devices"] = None  # an evaluation may run on a smaller machine
    if data:
        config = _on_other_data(config, data, split)
    with environ.context(dt=config["dt_ms"] * u.ms):
        try:
            trainer = make_trainer(config, None, found, members=members)
            if split not in trainer.splits:
                raise ConfigError(f"--split {split!r} is no split of this run. Valid: {', '.join(trainer.splits)}.")
            trainer.restore(found, member=member)
        except CheckpointError as error:
            if not data or isinstance(error, DamagedCheckpointError):
                raise
            there = build.build("data", config["data"])
            raise ConfigError(
                f"data.name={config['data']['name']} has {there.n_channels} channels and {there.n_classes} classes, and "
                f"the model has others: {error}"
            ) from error
        yield meta, trainer


def _found(path: Path, which: str, plugins: Sequence[str]) -> Path:
    """Return the folder of a step; the best one by the metric that the run monitors."""
    if which != "best":
        return find(path, which)
    return find(path, which, _config_of(find(path), plugins)["trainer"]["monitor"])


def _config_of(step_folder: Path, plugins: Sequence[str]) -> dict[str, Any]:
    """Return the configuration of a checkpoint, checked."""
    config = read_meta(step_folder)["config"]
    if not config:
        raise CheckpointError(f"{step_folder} was saved without a configuration, so what it was trained on is unknown.")
    check_plugins(config, plugins, step_folder, "--plugins {}")
    return check(config)


def _on_other_data(config: dict[str, Any], data: dict[str, Any], split: str) -> dict[str, Any]:
    """Return a configuration to evaluate with; nothing in it asks the data for more trials than an evaluation does."""
    config = check(config | {"data": data if "name" in data else config["data"] | data})
    config["trainer"] |= {"batch_size": 1, "accumulate": 1, "length_buckets": None, "devices": None}
    config["trainer"]["overfit_batch"] = False
    if split == "test":
        config["trainer"] |= {"validation_fraction": 0.0}
    return config
