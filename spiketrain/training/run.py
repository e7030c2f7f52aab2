"""From a checked configuration to a trained, evaluated run, and back from a checkpoint."""

from pathlib import Path
from typing import Any

import brainunit as u
import yaml
from flax import nnx

from spiketrain import environ
from spiketrain.config import build, schema
from spiketrain.config.check import check
from spiketrain.errors import ConfigError
from spiketrain.training.checkpoint import find, read_meta
from spiketrain.training.trainer import Trainer


def make_trainer(config: dict[str, Any], folder: Path | None) -> Trainer:
    """Build data, model, loss and optimizer of a checked configuration."""
    dataset = build.build("data", config["data"])
    rngs = nnx.Rngs(config["seed"])
    model = build.build("model", config["model"], dataset.n_channels, dataset.n_classes, rngs=rngs)
    return Trainer(
        model,
        dataset,
        optimizer=lambda steps: build.optimizer(config, steps),
        loss=build.build("loss", config["loss"]),
        encoder=build.build("encoder", config["encoder"]),
        seed=config["seed"],
        settings=schema.TrainerSettings(**config["trainer"]),
        logger=schema.LoggerSettings(**config["logger"]),
        folder=folder,
        config=config,
    )


def train(config: dict[str, Any], folder: Path, *, resume: bool = False) -> dict[str, Any]:
    """Train, evaluate and record a run in `folder`; `resume` continues the one that is there."""
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with environ.context(dt=config["dt_ms"] * u.ms):
        trainer = make_trainer(config, folder)
        if resume:
            trainer.resume(folder)
        elif (folder / "checkpoints").exists():
            raise ConfigError(
                f"{folder} already holds a run. Write `resume={folder}` to continue it, or choose another folder."
            )
        (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        return trainer.fit()


def evaluate(path: Path, *, which: str = "last", split: str = "test") -> tuple[dict[str, Any], dict[str, float]]:
    """Evaluate a checkpoint by itself.

    Args:
        path: a run folder or the folder of one step.
        which: `last`, `best` or a step number, for a run folder.
        split: `train`, `validation` or `test`.

    Returns:
        The checkpoint's meta data and the metrics.
    """
    meta = read_meta(found := find(path, which))
    config = check(meta["config"])
    with environ.context(dt=config["dt_ms"] * u.ms):
        trainer = make_trainer(config, None)
        if split not in trainer.splits:
            raise ConfigError(f"--split {split!r} is no split of this run. Valid: {', '.join(trainer.splits)}.")
        trainer.restore(found)
        return meta, trainer.evaluate(split)
