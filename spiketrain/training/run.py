"""From a checked configuration to a trained, evaluated run, and back from a checkpoint."""

import contextlib
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import brainunit as u
import yaml
from flax import nnx

from spiketrain import environ
from spiketrain.config import build, schema
from spiketrain.config.check import check, check_plugins
from spiketrain.encoders.base import channels_of
from spiketrain.errors import CheckpointError, ConfigError
from spiketrain.training.checkpoint import find, read_meta
from spiketrain.training.trainer import Trainer


def make_trainer(config: dict[str, Any], folder: Path | None) -> Trainer:
    """Build data, model, loss and optimizer of a checked configuration."""
    dataset = build.build("data", config["data"])
    rngs = nnx.Rngs(config["seed"])
    encoder = build.build("encoder", config["encoder"])
    n_in = channels_of(encoder, dataset.n_channels)
    model = build.build("model", config["model"], n_in, dataset.n_classes, rngs=rngs)
    return Trainer(
        model,
        dataset,
        optimizer=lambda steps: build.optimizer(config, steps),
        loss=build.build("loss", config["loss"]),
        encoder=encoder,
        seed=config["seed"],
        settings=schema.TrainerSettings(**config["trainer"]),
        logger=schema.LoggerSettings(**config["logger"]),
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
    with environ.context(dt=config["dt_ms"] * u.ms):
        folder = folder.absolute()
        trainer = make_trainer(config, folder)
        if resume:
            trainer.resume()
        else:
            trainer.folder = folder = _claim(folder, named=named)
        print(f"run folder: {folder}" + (f", after step {trainer.step}" if trainer.step else ""), flush=True)
        _write(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
        try:
            return folder, trainer.fit()
        except KeyboardInterrupt:
            print(f"stopped after step {trainer.step}; write `resume={folder}` to continue", flush=True)
            raise


def _claim(folder: Path, *, named: bool) -> Path:
    """Make a run's folder. Two runs that start in the same second want the same one."""
    if not named:
        for n in itertools.count(1):
            candidate = folder if n == 1 else folder.with_name(f"{folder.name}_{n}")
            with contextlib.suppress(FileExistsError):
                candidate.mkdir(parents=True)
                return candidate
    if (folder / "config.yaml").exists() or (folder / "checkpoints").exists():
        raise ConfigError(
            f"{folder} already holds a run. Write `resume={folder}` to continue it, or choose another folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write(path: Path, text: str) -> None:
    """Replace a file as a whole: a kill leaves the old one or the new one."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def evaluate(
    path: Path, *, which: str = "last", split: str = "test", plugins: Sequence[str] = ()
) -> tuple[dict[str, Any], dict[str, float]]:
    """Evaluate a checkpoint by itself.

    Args:
        path: a run folder or the folder of one step.
        which: `last`, `best` or a step number, for a run folder.
        split: `train`, `validation` or `test`.
        plugins: the packages that have been imported for it.

    Returns:
        The checkpoint's meta data and the metrics.

    Raises:
        CheckpointError: there is no such checkpoint, or it is damaged.
        ConfigError: its configuration does not pass the check, or names packages that are not in `plugins`.
    """
    meta = read_meta(found := find(path, which))
    if not meta["config"]:
        raise CheckpointError(f"{found} was saved without a configuration, so what it was trained on is unknown.")
    check_plugins(meta["config"], plugins, found, "--plugins {}")
    config = check(meta["config"])
    with environ.context(dt=config["dt_ms"] * u.ms):
        trainer = make_trainer(config, None)
        if split not in trainer.splits:
            raise ConfigError(f"--split {split!r} is no split of this run. Valid: {', '.join(trainer.splits)}.")
        trainer.restore(found)
        return meta, trainer.evaluate(split)
