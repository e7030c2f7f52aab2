"""`spiketrain-train`: train a configured experiment, resume a run, or sweep over settings.

spiketrain-train experiment=vowels seed=1 trainer.epochs=60
spiketrain-train -m experiment=vowels seed=0,1,2
spiketrain-train resume=runs/vowels/2026-01-31_12-00-00 trainer.epochs=200
spiketrain-train experiment=vowels resume=auto
"""

import argparse
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from spiketrain.cli import sweep
from spiketrain.cli.common import import_plugins, run
from spiketrain.cli.job import Job
from spiketrain.cli.startup import start
from spiketrain.config import registry
from spiketrain.config.check import check, check_plugins
from spiketrain.config.files import YAML_BYTES, parse_yaml, read_bytes
from spiketrain.errors import ConfigError
from spiketrain.training.recorded import differing

# No bit of the steps already taken depends on these. Of those to come, more epochs stretch the schedule, and another
# number of devices adds in another order.
RESUME_MAY_CHANGE = (
    "trainer.epochs",
    "trainer.eval_batch_size",
    "trainer.evaluate_every",
    "trainer.save_every",
    "trainer.save_every_steps",
    "trainer.keep_best",
    "trainer.final",
    "trainer.log_every_steps",
    "trainer.devices",
    "trainer.piece_steps",
    "trainer.memory_mb",
    "trainer.profile",
    "logger.tensorboard",
    "logger.pictures",
    "logger.pictures_every_minutes",
    "logger.progress",
    "distributed",
)


def command() -> None:
    """Entry point of the console command."""
    start(main)


def main() -> None:
    """Run the command in this process, as it is."""
    sys.exit(run(lambda: _main(sys.argv[1:])))


def _main(words: list[str]) -> None:
    plugins = _plugins(words)
    import_plugins(plugins)
    resumes = [word for word in words if _key(word) == "resume"]
    if resumes and resumes[-1] != "resume=auto":
        return _resume(words, plugins)
    _train([word for word in words if word not in resumes], plugins, auto=bool(resumes))


def _train(words: list[str], plugins: list[str], *, auto: bool = False) -> None:
    """Check everything, then start a plain run here; Hydra starts the jobs of a sweep and answers `--help`.

    With `auto` a run that was begun is continued; see `continued`.
    """
    from hydra._internal.utils import get_args_parser

    words = [_forced(word) for word in words]
    _offer_registered_names()
    arguments = get_args_parser().parse_args(words)
    multirun = arguments.multirun or "hydra.mode=MULTIRUN" in arguments.overrides
    asks = arguments.help or arguments.hydra_help or arguments.cfg or arguments.info or arguments.shell_completion
    if arguments.experimental_rerun:
        raise ConfigError("--experimental-rerun reads a pickle, which may hold code. Continue a run with `resume=...`.")
    if asks:
        return _hydra(words, Job(plugins))
    if multirun:
        return _sweep(words, plugins, arguments, auto=auto)
    config, settings = _composed(arguments.overrides, arguments, plugins)
    folder, named = Path(settings.run.dir), any(_key(word) == "hydra.run.dir" for word in words)
    begun = continued(config, folder, named=named) if auto else None
    _run(config, begun or folder, named=named, resume=begun is not None)


def _sweep(words: list[str], plugins: list[str], arguments: argparse.Namespace, *, auto: bool) -> None:
    """Check a sweep, settle what follows from the machine, and let Hydra start its jobs."""
    if auto and not any(_key(word) == "hydra.sweep.dir" for word in words):
        raise ConfigError("A sweep continues in its own folder: write `hydra.sweep.dir=...` in place of `resume=auto`.")
    with _hydra_errors():
        jobs = sweep.samples(arguments.overrides)
    _, settings = _composed(jobs[0], arguments, plugins)
    swept = [*sweep.parameters(settings), *arguments.overrides]
    with _hydra_errors():
        jobs = sweep.samples(swept)
    for sample in jobs:
        config, settings = _composed(sample, arguments, plugins)
        sweep.check_search(settings, config)
    launcher, at_once = sweep.chosen(settings, "launcher"), sweep.side_by_side(settings, swept)
    where = [f"--{name}={value}" for name in ("config-dir", "config-path", "config-name")
             if (value := getattr(arguments, name.replace("-", "_")))]  # fmt: skip
    gpus = sweep.gpus() if at_once > 1 else []
    job = Job(plugins, where, launcher=launcher, environment=sweep.share(at_once), gpus=gpus)
    with sweep.passing_signals_on(settings.sweep.dir) if launcher == "joblib" else nullcontext():
        _hydra([*words, *sweep.settled(settings, at_once)], job)


def _composed(words: list[str], arguments: argparse.Namespace, plugins: list[str]) -> tuple[dict[str, Any], Any]:
    """Return the checked configuration of one job, and Hydra's settings."""
    from hydra import compose, initialize_config_dir
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    conf = Path(arguments.config_path).absolute() if arguments.config_path else config_folder()
    if arguments.config_dir:
        if not os.path.isdir(arguments.config_dir):
            raise ConfigError(f"--config-dir {arguments.config_dir}: there is no such folder.")
        words = [f"hydra.searchpath=[{_quoted('file://' + os.path.abspath(arguments.config_dir))}]", *words]
    with _hydra_errors(), initialize_config_dir(version_base="1.3", config_dir=str(conf), job_name="train"):
        composed = compose(arguments.config_name or "train", words, return_hydra_config=True)
        HydraConfig.instance().set_config(composed)
        own = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
        config = OmegaConf.to_container(own, resolve=True, throw_on_missing=True)
    sweep.check_targets(OmegaConf.to_container(composed.hydra))
    check_plugins(config, plugins, "The configuration", "plugins=[{}]")
    return check(config), composed.hydra


def _hydra(words: list[str], job: Job) -> None:
    import hydra

    def task(composed: Any) -> float | None:
        return job(composed)

    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = [sys.argv[0], *words]
    with _hydra_errors(composing=False):
        hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="train")(task)()


def _run(config: dict[str, Any], folder: Path, *, named: bool = True, resume: bool = False) -> None:
    from spiketrain.training.run import train

    folder, result = train(config, folder, named=named, resume=resume)
    for split in ("validation", "test"):
        if split in result:
            print(f"{split} loss: {result[split]['loss']:.4f}")
    print(f"evaluated checkpoint: {folder / 'checkpoints' / str(result['step'])}")
    print(f"test accuracy: {100 * result['test']['accuracy']:.1f} %", flush=True)


def _resume(words: list[str], plugins: list[str]) -> None:
    settings = dict(_parsed(word) for word in words)
    folder = Path(str(settings.pop("resume")))
    settings.pop("plugins", None)
    config = _read(folder / "config.yaml", folder)
    check_plugins(config, plugins, folder / "config.yaml", "plugins=[{}]")
    config = check(config)
    for key, value in settings.items():
        if key not in RESUME_MAY_CHANGE:
            raise ConfigError(
                f"resume={folder} keeps every setting that a bit of the result depends on; got {key}={value}. "
                f"It takes {', '.join(RESUME_MAY_CHANGE)}."
            )
        group, _, name = key.partition(".")
        config |= {group: config[group] | {name: value} if name else value}
    _run(check(config), folder, resume=True)


def continued(config: dict[str, Any], folder: Path, *, named: bool) -> Path | None:
    """Return the folder of the run that `resume=auto` continues; None where a run is to begin.

    Args:
        config: the checked configuration of the command line.
        folder: where a run would begin.
        named: whether that very folder is meant; otherwise the newest one beside it whose run has not ended and has
            this configuration, up to what a resumed run may change.

    Raises:
        ConfigError: `folder` is meant, and holds a run of another configuration.
    """
    parent = folder.absolute().parent
    beside = sorted(parent.iterdir(), reverse=True) if parent.is_dir() else []
    for candidate in [folder] if named else beside:
        if not (candidate / "config.yaml").is_file():
            continue
        try:
            other = differing(check(_read(candidate / "config.yaml", candidate)), config)
        except ConfigError:
            if named:
                raise
            continue  # another version wrote it, or its disk damaged it
        fixed = {key: values for key, values in other.items() if key not in RESUME_MAY_CHANGE}
        if named and fixed:
            key, (kept, wanted) = next(iter(fixed.items()))
            raise ConfigError(
                f"resume=auto: {folder} holds a run with {key}={kept}, not {wanted}. Choose another folder, or write the "
                "settings of that run."
            )
        if not fixed and (named or not (candidate / "result.json").exists()):
            return candidate
    return None


def _read(path: Path, folder: Path) -> Any:
    if not path.is_file():
        raise ConfigError(
            f"resume={folder} is no run folder: {path} is missing. Write the folder that holds config.yaml."
        )
    try:
        return parse_yaml(read_bytes(path, YAML_BYTES))
    except ValueError as error:
        raise ConfigError(f"{path} is no valid YAML: {_one_line(error)}.") from error


def _parsed(word: str) -> tuple[str, Any]:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    if "=" not in word or word[0] in "-~":
        raise ConfigError(f"resume=... takes only key=value settings beside it, got {word!r}.")
    if _key(word) == "resume":
        return "resume", word.partition("=")[2]  # a path is no expression
    with _hydra_errors():
        [override] = OverridesParser.create().parse_overrides([word])
        if override.is_sweep_override():
            raise ConfigError(f"resume=... continues one run, got the sweep {word!r}.")
        return override.key_or_group, override.value()


def config_folder() -> Path:
    """Return the folder of the YAML groups, in the installed package or in the clone."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise ConfigError(
        f"The configuration folder is missing: neither {package / 'conf'} nor {package.parent / 'conf'} is there."
    )


def _plugins(words: list[str]) -> list[str]:
    given = [word.partition("=")[2] for word in words if _key(word) == "plugins"]
    return [name.strip(" '\"") for name in given[-1].strip("[] ").split(",") if name.strip()] if given else []


def _key(word: str) -> str | None:
    key, equals, _ = word.partition("=")
    return key.lstrip("+") if equals else None


def _forced(word: str) -> str:
    """Let a plain setting reach our own check, which knows the schemas, instead of Hydra's."""
    key = _key(word)
    if key is None:
        return word
    if not key:
        raise ConfigError(f"{word!r} is no setting. Write key=value.")
    is_group = key in registry.KINDS or (config_folder() / key).is_dir() or "@" in key or "/" in key
    if is_group and word.partition("=")[2] == "nan":
        return f"{key}='nan'"  # a name, which Hydra takes for a number
    plain = not is_group and key[0] not in "~-" and key.partition(".")[0] != "hydra"
    return f"++{key}={word.partition('=')[2]}" if plain else word


def _offer_registered_names() -> None:
    """Make every registered name without a YAML of its own an option of its group, at the defaults of its schema."""
    from hydra.core.config_store import ConfigStore

    for kind in registry.KINDS:
        for name in registry.names(kind):
            if not (config_folder() / kind / f"{name}.yaml").is_file():
                fields = registry.lookup(kind, name, kind).defaults()
                ConfigStore.instance().store(group=kind, name=name, node={"name": name, **fields})


@contextmanager
def _hydra_errors(*, composing: bool = True) -> Iterator[None]:
    """Turn what Hydra raises into one line."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    # While it composes, Hydra raises plain ValueErrors and AssertionErrors as well.
    caught = (Exception,) if composing else (HydraException, OmegaConfBaseException)
    try:
        yield
    except ConfigError:
        raise
    except caught as error:
        raise ConfigError(_explain(error)) from error


def _explain(error: Exception) -> str:
    from hydra.errors import OverrideParseException
    from omegaconf.errors import MissingMandatoryValue

    text = _one_line(error).partition(" Config search path:")[0]
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} is missing. Write `{error.full_key}=...`."
    if isinstance(error, OverrideParseException):
        setting = error.override.removeprefix("++")
        how = "Write key=value, with quotes around a value that holds , = [ ] { } or letters beyond ASCII: key='value'."
        return f"{setting!r} cannot be read. {how}"
    if found := re.search(r"Could not find '([\w/]+)/([^'/]+)' Available options in '[^']*': (.*)", text):
        group, option, options = found.groups()
        if package := sweep.PACKAGES.get((group, option)):
            return f"{group}={option} needs {package}. Install it with `pip install 'spiketrain[sweeps]'`."
        return f"{group}={option}: there is no such option.{registry.did_you_mean(option, options.split())}"
    if text.startswith("In 'experiment/"):
        return f"{text} That experiment is made for its own model and data: for others, write `experiment=none`."
    return text


def _one_line(error: Exception) -> str:
    """Return a message without line breaks, carets, our `++` and links to Hydra's manual."""
    noise = r"See https?://\S*hydra\.cc\S* for details|\s\^(?=\s|$)|\+\+(?=[\w.]+=)|(object|reference)_type=\w+|\w+Exception: "
    return " ".join(re.sub(noise, "", str(error)).split()) or type(error).__name__


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


if __name__ == "__main__":
    command()
