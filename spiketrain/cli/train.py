"""`spiketrain-train`: train a configured experiment, resume a run, or sweep over settings.

spiketrain-train experiment=vowels seed=1 trainer.epochs=60
spiketrain-train -m experiment=vowels seed=0,1,2
spiketrain-train resume=runs/vowels/2026-01-31_12-00-00 trainer.epochs=200
"""

import argparse
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spiketrain.cli.common import import_plugins, run
from spiketrain.cli.startup import start
from spiketrain.config import registry
from spiketrain.config.check import check, check_plugins
from spiketrain.errors import ConfigError

# No bit of the steps already taken depends on these. Of those to come, more epochs stretch the schedule, and another
# number of devices adds in another order.
RESUME_MAY_CHANGE = (
    "trainer.epochs",
    "trainer.eval_batch_size",
    "trainer.evaluate_every",
    "trainer.save_every",
    "trainer.keep_best",
    "trainer.final",
    "trainer.log_every_steps",
    "trainer.devices",
    "trainer.piece_steps",
    "trainer.memory_mb",
    "trainer.profile",
    "logger.tensorboard",
    "logger.pictures",
    "logger.pictures_every",
    "logger.progress",
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
    if any(_key(word) == "resume" for word in words):
        return _resume(words, plugins)
    _train(words, plugins)


def _train(words: list[str], plugins: list[str]) -> None:
    """Check everything, then start a plain run here; Hydra starts the jobs of a sweep and answers `--help`."""
    from hydra._internal.utils import get_args_parser

    words = [_forced(word) for word in words]
    _offer_registered_names()
    arguments = get_args_parser().parse_args(words)
    sweep = arguments.multirun or "hydra.mode=MULTIRUN" in arguments.overrides
    asks = arguments.help or arguments.hydra_help or arguments.cfg or arguments.info or arguments.shell_completion
    if asks or arguments.experimental_rerun:
        return _hydra(words, plugins)
    jobs = _jobs(arguments.overrides) if sweep else [arguments.overrides]
    checked = [_composed(job, arguments, plugins) for job in jobs]
    if sweep:
        return _hydra(words, plugins)
    [(config, folder)] = checked
    named = any(_key(word) == "hydra.run.dir" for word in words)
    _run(config, folder, named=named)


def _composed(words: list[str], arguments: argparse.Namespace, plugins: list[str]) -> tuple[dict[str, Any], Path]:
    """Return the checked configuration of one job, and its folder."""
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
        folder = Path(composed.hydra.run.dir)
    return _checked(config, plugins), folder


def _checked(config: Any, plugins: list[str]) -> dict[str, Any]:
    check_plugins(config, plugins, "The configuration", "plugins=[{}]")
    return check(config)


def _hydra(words: list[str], plugins: list[str]) -> None:
    import hydra

    def job(composed: Any) -> None:
        from hydra.core.hydra_config import HydraConfig
        from omegaconf import OmegaConf

        import_plugins(plugins)  # a launcher may start the job in another process
        config = _checked(OmegaConf.to_container(composed, resolve=True, throw_on_missing=True), plugins)
        _run(config, Path(HydraConfig.get().runtime.output_dir), named=True)

    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = [sys.argv[0], *words]
    with _hydra_errors(composing=False):
        hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="train")(job)()


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
        config[group][name] = value
    _run(check(config), folder, resume=True)


def _read(path: Path, folder: Path) -> Any:
    import yaml

    if not path.is_file():
        raise ConfigError(
            f"resume={folder} is no run folder: {path} is missing. Write the folder that holds config.yaml."
        )
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:
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


def _jobs(words: list[str]) -> list[list[str]]:
    """Return the settings of some jobs of a sweep, in which every swept value occurs once or more."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    swept, plain = [], []
    with _hydra_errors():
        for override in OverridesParser.create().parse_overrides(words):
            if not override.is_sweep_override():
                plain.append(str(override.input_line))
            elif override.is_discrete_sweep():
                key = override.get_key_element()
                swept.append([f"{key}={value}" for value in override.sweep_string_iterator()])
    longest = max(map(len, swept), default=1)
    return [[*plain, *(values[i % len(values)] for values in swept)] for i in range(longest)]


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
