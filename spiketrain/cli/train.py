"""`spiketrain-train`: train a configured experiment, resume a run, or sweep over settings.

spiketrain-train experiment=vowels seed=1 trainer.epochs=60
spiketrain-train -m experiment=vowels seed=0,1,2
spiketrain-train resume=runs/vowels/2026-01-31_12-00-00 trainer.epochs=200
"""

import os
import sys
from pathlib import Path
from typing import Any

from spiketrain.cli.common import import_plugins, run
from spiketrain.config.check import check
from spiketrain.errors import ConfigError

RESUME_MAY_CHANGE = ("trainer.", "logger.")


def main() -> None:
    """Entry point of the console command."""
    sys.exit(run(lambda: _main(sys.argv[1:])))


def _main(words: list[str]) -> None:
    plugins = _plugins(words)
    import_plugins(plugins)
    if any(word.startswith("resume=") for word in words):
        return _resume(words, plugins)
    _train(words)


def _train(words: list[str]) -> None:
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    conf = config_folder()
    words = [_forced(word, conf) for word in words]
    flags = [word for word in words if word.startswith("-")]
    try:
        if not flags:
            _check_before_anything_is_written(words, conf)
        os.environ["HYDRA_FULL_ERROR"] = "1"
        sys.argv = [sys.argv[0], *words]
        hydra.main(version_base="1.3", config_path=str(conf), config_name="train")(_job)()
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_explain(error, conf)) from error


def _job(config: Any) -> None:
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    checked = check(OmegaConf.to_container(config, resolve=True))
    _run(checked, Path(HydraConfig.get().runtime.output_dir), resume=False)


def _run(config: dict[str, Any], folder: Path, *, resume: bool) -> None:
    from spiketrain.training.run import train

    print(f"run folder: {folder}", flush=True)
    result = train(config, folder, resume=resume)
    for split in ("validation", "test"):
        if split in result:
            print(f"{split} loss: {result[split]['loss']:.4f}")
    print(f"evaluated checkpoint: {folder / 'checkpoints' / str(result['step'])}")
    print(f"test accuracy: {100 * result['test']['accuracy']:.1f} %", flush=True)


def _check_before_anything_is_written(words: list[str], conf: Path) -> None:
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(version_base="1.3", config_dir=str(conf)):
        composed = compose("train", [word for word in words if not word.startswith("hydra")])
    check(OmegaConf.to_container(composed, resolve=True))


def _resume(words: list[str], plugins: list[str]) -> None:
    import yaml

    settings = dict(_parsed(word) for word in words)
    folder = Path(str(settings.pop("resume")))
    settings.pop("plugins", None)
    path = folder / "config.yaml"
    if not path.is_file():
        raise ConfigError(
            f"resume={folder} is no run folder: {path} is missing. Write the folder that holds config.yaml."
        )
    try:
        config = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is no valid YAML: {error}") from error
    config = check(config)
    for key, value in settings.items():
        if not key.startswith(RESUME_MAY_CHANGE):
            raise ConfigError(
                f"resume takes everything from {path}, except {' and '.join(k + '*' for k in RESUME_MAY_CHANGE)}; got {key}={value}."
            )
        group, _, name = key.partition(".")
        config[group][name] = value
    _run(check(config), folder, resume=True)


def _parsed(word: str) -> tuple[str, Any]:
    import yaml

    key, equals, value = word.partition("=")
    if not equals or word.startswith("-"):
        raise ConfigError(f"resume=... takes only key=value settings beside it, got {word!r}.")
    return key.lstrip("+"), yaml.safe_load(value)


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
    given = [word.partition("=")[2] for word in words if word.lstrip("+").startswith("plugins=")]
    return [name.strip() for name in given[-1].strip("[]").split(",") if name.strip()] if given else []


def _forced(word: str, conf: Path) -> str:
    """Let a plain setting reach our own check, which knows the schemas, instead of Hydra's."""
    key = word.partition("=")[0]
    plain = "=" in word and key[:1] not in "+~-" and "@" not in key and "/" not in key and not key.startswith("hydra")
    return f"++{word}" if plain and not (conf / key).is_dir() else word


def _explain(error: Exception, conf: Path) -> str:
    from spiketrain.config.registry import did_you_mean

    text = str(error).strip()
    for line in text.splitlines():
        if line.startswith("Could not find '") or line.startswith("In "):
            group, _, option = line.split("'")[1].rpartition("/") if "'" in line else ("", "", "")
            if (conf / group).is_dir() and group:
                options = [p.stem for p in (conf / group).glob("*.yaml")]
                return f"{group}={option}: there is no such option.{did_you_mean(option, options)}"
    return text


if __name__ == "__main__":
    main()
