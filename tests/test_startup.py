"""What a console command does before JAX starts: begin again with a tuned allocator, keep compiled programs."""

import errno
import os
import signal
import subprocess
import sys
import warnings

import brainunit as u
import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_trainer import trainer

from spiketrain import environ
from spiketrain.cli import startup
from spiketrain.errors import ConfigError
from spiketrain.training import step
from spiketrain.training.compilation import Compilations

from runs import environment, refused, words, write_data

# A package that writes down which process imports it, and as what.
SEEN = """
import os, sys
with open("seen", "a") as file:
    print(os.getpid(), "jax" in sys.modules, os.environ.get("GLIBC_TUNABLES"), sys.orig_argv[1:], file=file)
with open("devices", "a") as file:
    print(os.environ.get("JAX_NUM_CPU_DEVICES"), file=file)
if "wait" in sys.argv[-1]:
    import time
    open("waits", "w").close()
    time.sleep(60)
"""
linux_with_glibc = pytest.mark.skipif(not startup._has_glibc(), reason="the allocator is glibc's")


@pytest.fixture
def before_jax(monkeypatch):
    monkeypatch.delitem(sys.modules, "jax")


def started(folder, *words, how=("-X", "utf8", "-m", "spiketrain.cli.train"), **variables):
    """Start a command in `folder`, whose package `seen` is a plugin of it."""
    (folder / "seen.py").write_text(SEEN)
    env = {k: v for k, v in environment().items() if k not in ("GLIBC_TUNABLES", "SPIKETRAIN_ALLOCATOR")}
    pipes = {name: subprocess.PIPE for name in ("stdout", "stderr")}
    command = [sys.executable, *how, "plugins=[seen]", *words]
    return subprocess.Popen(command, cwd=folder, env=env | variables, text=True, **pipes)


def ended(process):
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess((), process.returncode, out, err)


# The allocator


@linux_with_glibc
@pytest.mark.parametrize(
    "variables, tuned",
    [
        ({}, True),
        ({"SPIKETRAIN_ALLOCATOR": "tuned"}, True),
        ({"SPIKETRAIN_ALLOCATOR": "default"}, False),
        ({"GLIBC_TUNABLES": "glibc.malloc.arena_max=1"}, False),
        ({"JAX_PLATFORMS": "cuda"}, False),
    ],
)
def test_a_command_begins_again_once_as_the_same_process(tmp_path, variables, tuned):
    """What it was told stays, packages are imported once, and the exit code of a mistake is as before."""
    process = started(tmp_path, "trainer.epoch=3", "name='a b'", **variables)
    assert "trainer.epoch is no key" in refused(ended(process))
    tunables = startup.TUNABLES if tuned else variables.get("GLIBC_TUNABLES")
    told = ["-X", "utf8", "-m", "spiketrain.cli.train", "plugins=[seen]", "trainer.epoch=3", "name='a b'"]
    assert (tmp_path / "seen").read_text() == f"{process.pid} False {tunables} {told}\n"


@linux_with_glibc
def test_a_program_that_calls_the_command_is_left_alone(tmp_path):
    (tmp_path / "mine.py").write_text("open('begun', 'a').write('.')\nfrom spiketrain.cli.train import main; main()\n")
    refused(ended(started(tmp_path, "trainer.epoch=3", how=("mine.py",))))
    assert (tmp_path / "begun").read_text() == "." and " None [" in (tmp_path / "seen").read_text()


@linux_with_glibc
def test_a_signal_reaches_the_command(tmp_path):
    process = started(tmp_path, "name=wait")
    while not (tmp_path / "waits").exists():
        assert process.poll() is None
    assert "hugetlb=1" in (tmp_path / "seen").read_text()
    process.send_signal(signal.SIGTERM)
    assert ended(process).returncode == -signal.SIGTERM


@linux_with_glibc
@pytest.mark.parametrize(
    "platforms, accelerator, wants",
    [
        (None, False, True),
        (None, True, False),
        ("", True, False),
        ("cpu", True, True),
        ("cpu,cuda", True, True),
        ("cuda,cpu", False, False),
    ],
)
def test_only_where_the_cpu_computes(monkeypatch, before_jax, platforms, accelerator, wants):
    monkeypatch.setattr(startup.importlib.util, "find_spec", lambda name: accelerator or None)
    assert startup.wants_tunables({} if platforms is None else {"JAX_PLATFORMS": platforms}) == wants


def test_never_without_glibc_nor_after_jax(monkeypatch, before_jax):
    cpu = {"JAX_PLATFORMS": "cpu"}
    monkeypatch.setattr(startup, "_has_glibc", lambda: False)
    assert not startup.wants_tunables(cpu)
    monkeypatch.setattr(startup, "_has_glibc", lambda: True)
    assert startup.wants_tunables(cpu)
    monkeypatch.setitem(sys.modules, "jax", jax)
    assert not startup.wants_tunables(cpu)


# The devices


@pytest.mark.parametrize(
    "variables, devices",
    [
        ({}, startup.cores()),
        ({"JAX_NUM_CPU_DEVICES": "3"}, 3),
        ({"XLA_FLAGS": "--xla_force_host_platform_device_count=3"}, None),
        ({"JAX_PLATFORMS": "cuda"}, None),
    ],
)
def test_every_core_is_a_device_unless_the_user_chose(tmp_path, variables, devices):
    refused(ended(started(tmp_path, "trainer.epoch=3", **variables)))
    assert (tmp_path / "devices").read_text() == f"{devices}\n"


def test_a_wrong_choice_of_allocator_is_one_line(monkeypatch, capsys):
    with pytest.raises(ConfigError, match="SPIKETRAIN_ALLOCATOR=fast is no choice. Write `tuned` or `default`"):
        startup.wants_tunables({"SPIKETRAIN_ALLOCATOR": "fast"})
    monkeypatch.setenv("SPIKETRAIN_ALLOCATOR", "fast")
    with pytest.raises(SystemExit) as exit:
        startup.start(lambda: pytest.fail("it ran"))
    assert exit.value.code == 2 and len(capsys.readouterr().err.splitlines()) == 1


# The cache of compiled programs


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """Set variables, let the command choose its cache, and return what it chose."""

    def choose(**variables):
        for name in ("SPIKETRAIN_CACHE", "JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        for name, value in ({"HOME": str(tmp_path / "home")} | variables).items():
            monkeypatch.setenv(name, str(value))
        startup.use_cache()
        return os.environ.get("JAX_COMPILATION_CACHE_DIR")

    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "set, so that what is chosen is undone")
    return choose


def test_the_cache_lives_where_the_user_says_or_caches_do(cache, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cache() == str(tmp_path / "home" / ".cache" / "spiketrain" / "jax")
    assert cache(XDG_CACHE_HOME=tmp_path / "xdg") == str(tmp_path / "xdg" / "spiketrain" / "jax")
    assert cache(XDG_CACHE_HOME="relative") == cache()
    assert cache(SPIKETRAIN_CACHE="mine") == str(tmp_path / "mine")
    assert cache(SPIKETRAIN_CACHE="~/ours") == str(tmp_path / "home" / "ours")
    assert cache(SPIKETRAIN_CACHE="off") is None
    assert cache(JAX_COMPILATION_CACHE_DIR="theirs", SPIKETRAIN_CACHE="mine") == "theirs"
    assert capsys.readouterr().err == "" and not list((tmp_path / "mine").iterdir())


def test_a_folder_that_takes_nothing_is_one_warning(cache, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    assert cache(SPIKETRAIN_CACHE=tmp_path / "file" / "within") is None
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("WARNING: Compiled programs are not kept: ") and "SPIKETRAIN_CACHE=FOLDER" in line

    def full(**_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(startup.tempfile, "TemporaryFile", full)
    assert cache() is None
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_failures_of_the_cache_are_said_once_and_other_warnings_are_not_touched(cache, capsys):
    with warnings.catch_warnings(record=True) as others:
        warnings.simplefilter("always")
        cache()
        for name in ("one", "two"):
            warnings.warn(f"Error writing persistent compilation cache entry for '{name}': OSError: full", stacklevel=1)
        warnings.warn("another matter", stacklevel=1)
    assert [str(warning.message) for warning in others] == ["another matter"]
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("WARNING: Error writing persistent compilation cache entry for 'one': OSError: full. ")


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 40)), max_size=8, unique_by=lambda e: e[0]))
def test_the_programs_that_were_used_last_are_kept(tmp_path_factory, entries):
    folder = tmp_path_factory.mktemp("cache")
    (folder / "another file").write_bytes(bytes(1000))
    for used, size in entries:
        (folder / f"{used}-cache").write_bytes(bytes(size))
        os.utime(folder / f"{used}-cache", (used, used))
    startup.remove_oldest(folder, 100)
    kept = {int(path.name.removesuffix("-cache")) for path in folder.glob("*-cache")}
    newest = sorted(entries, reverse=True)
    fit = [n for n in range(len(entries) + 1) if sum(size for _, size in newest[:n]) <= 100]
    assert kept == {used for used, _ in newest[: max(fit)]} and (folder / "another file").exists()


def test_a_second_run_reads_what_the_first_compiled_and_a_damaged_program_is_compiled_again(tmp_path):
    write_data(tmp_path / "small.npz")
    given = [*words("small.npz"), "trainer.epochs=1", "logger.progress=true"]
    folder = tmp_path / "compiled"
    variables = {"SPIKETRAIN_CACHE": str(folder), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    env = {k: v for k, v in environment().items() if k != "JAX_COMPILATION_CACHE_DIR"} | variables
    command = [sys.executable, "-m", "spiketrain.cli.train", *given]

    def run(name):
        command_ = [*command, f"hydra.run.dir={name}"]
        done = subprocess.run(command_, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        [line] = [line for line in done.stdout.splitlines() if line.startswith("first step after ")]
        return line, done.stderr

    line, err = run("first")
    assert " s for compiling 3 programs" in line and "cache" not in line and err == ""
    damaged = [path for path in folder.iterdir() if "_train_step" not in path.name]
    assert len(damaged) > 10
    for path in damaged:
        path.write_bytes(path.read_bytes()[:100])
    line, err = run("second")
    assert " s for compiling 3 programs, 1 of them from the cache" in line
    assert len(err.splitlines()) == 1 and err.startswith("WARNING: Error reading persistent compilation cache entry")


def test_runs_that_differ_in_their_seed_share_a_program():
    def program(seed):
        t = trainer(seed=seed)
        step_ = t.functions.train_step()
        assert step_.args[0] == seed
        return step_.func.lower(
            *step_.args, t.leaves, step.on_devices(t.splits["train"], t.mesh), t.epochs.order(0)[0]
        ).as_text()

    with environ.context(dt=1.0 * u.ms):
        assert program(3) == program(4)


# Counting


def test_programs_are_counted_while_somebody_counts():
    compiled = Compilations()

    @jax.jit
    def inner(x):
        return x * 3

    one = jax.jit(lambda x: inner(x) + 1)
    try:
        x = jnp.arange(3.0)
        before = compiled.programs
        one(x), one(x)
        assert compiled.programs == before + 1 and compiled.seconds > 0
        one(jnp.arange(4.0))
        assert compiled.programs >= before + 2
    finally:
        compiled.close()
    seen = compiled.programs, compiled.seconds
    one(jnp.arange(5.0))
    assert (compiled.programs, compiled.seconds) == seen


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), max_size=6))
def test_time_is_counted_once_where_spans_overlap(spans):
    compiled = Compilations()
    compiled.close()
    for start, length in spans:
        compiled._span("/jax/core/compile/jaxpr_trace_duration", start, start + length)
        compiled._span("/jax/checkpoint/write", 0.0, 1e6)
    assert compiled.seconds == len({t for start, length in spans for t in range(start, start + length)})
    assert compiled.programs == 0
