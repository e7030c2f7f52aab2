"""The folder of a run: settled before anything is built, and held by one process."""

import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from spiketrain.errors import ConfigError
from spiketrain.training import lock
from spiketrain.training.folder import held, settle
from spiketrain.training.lock import RunLock

from runs import environment


def test_a_folder_that_can_be_made_is_settled_as_an_absolute_path_and_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert settle(Path("a/b/c")) == tmp_path / "a" / "b" / "c"
    assert os.listdir(tmp_path) == []


def test_what_cannot_hold_a_run_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    (tmp_path / "runs").symlink_to("/mnt/a disk that is not there")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "config.yaml").write_text("")
    for name, message in {
        "file": "file is a file, and a run needs a folder",
        "file/run": "file is a file, and a run needs a folder",
        "runs/name/1": "runs is a link to /mnt/a disk that is not there, which is not there. Is its disk mounted?",
        "used": "used already holds a run. Write `resume=",
        "x" * 300: "cannot be a run folder: .*File name too long",
    }.items():
        with pytest.raises(ConfigError, match=message):
            settle(tmp_path / name)
    assert settle(tmp_path / "used", named=False) and settle(tmp_path / "used", resume=True)
    monkeypatch.setattr(os, "access", lambda place, mode: Path(place) != tmp_path)
    with pytest.raises(ConfigError, match="cannot be written to: it is read-only, or another user's"):
        settle(tmp_path / "new" / "run")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
def test_a_folder_of_another_user_is_one_line(tmp_path):
    code = f"""
import os, pathlib, sys
from spiketrain.training.folder import settle
os.setuid(65534)
try: settle(pathlib.Path({str(tmp_path)!r}, 'run'))
except Exception as error: print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ConfigError") and "cannot be written to" in done.stdout


@pytest.mark.parametrize("name", ["result.json", "metrics.jsonl.new", "checkpoints", "pictures/step_1.png"])
def test_a_resumed_run_writes_through_no_link(tmp_path, name):
    run, outside = tmp_path / "run", tmp_path / "outside"
    (run / name).parent.mkdir(parents=True)
    outside.mkdir()
    (run / name).symlink_to(outside)
    with pytest.raises(ConfigError, match=rf"{name} is a link, and a run writes nothing outside of its folder"):
        settle(run, resume=True)


def test_a_lock_is_gone_with_its_block(tmp_path):
    with held(tmp_path / "run") as folder:
        holder = json.loads((folder / "run.lock").read_text())
        assert holder["pid"] == os.getpid() and holder["host"] == socket.gethostname()
    with pytest.raises(ZeroDivisionError), held(tmp_path / "run"):
        raise ZeroDivisionError
    assert os.listdir(tmp_path / "run") == []


HOLD = """
import pathlib, sys
from spiketrain.training.lock import RunLock
with RunLock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of `tmp_path` until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def kill(process):
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path, holder):
    for resume in (False, True):
        with pytest.raises(ConfigError) as error, held(tmp_path, resume=resume):
            pass
        assert f"is in use by process {holder.pid} on {socket.gethostname()}, since 20" in str(error.value)
        assert "Let it end or stop it, or choose another folder." in str(error.value)
    kill(holder)
    assert (tmp_path / "run.lock").exists()
    with held(tmp_path, resume=True):
        assert json.loads((tmp_path / "run.lock").read_text())["pid"] == os.getpid()
    assert not (tmp_path / "run.lock").exists()


def test_without_locks_of_the_system_the_record_decides(tmp_path, holder, monkeypatch):
    monkeypatch.setattr(lock, "_lock", lambda file: None)
    with pytest.raises(ConfigError, match=f"process {holder.pid} on .* If that process is gone, remove .*run.lock"):
        RunLock(tmp_path).__enter__()
    kill(holder)
    with RunLock(tmp_path):
        pass
    for record, free in {
        '{"host": "elsewhere", "pid": 1}': False,
        json.dumps({"host": socket.gethostname(), "pid": os.getpid()}): False,
        "": True,
        "[[": True,
        json.dumps({"host": socket.gethostname(), "pid": 2**80}): True,
    }.items():
        (tmp_path / "run.lock").write_text(record)
        if free:
            with RunLock(tmp_path):
                pass
        else:
            with pytest.raises(ConfigError, match="is in use by process"):
                RunLock(tmp_path).__enter__()


def test_of_many_at_once_one_holds_it(tmp_path):
    """Each takes the lock as soon as it can; two inside at once would lose a count."""
    inside, most = [0], []

    def take(_):
        for _ in range(20):
            try:
                with RunLock(tmp_path):
                    inside[0] += 1
                    most.append(inside[0])
                    inside[0] -= 1
            except ConfigError:
                pass

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(take, range(8)))
    assert most and set(most) == {1} and os.listdir(tmp_path) == []


def test_a_file_that_its_holder_has_just_removed_is_no_lock(tmp_path, monkeypatch):
    calls, real = [], lock._lock

    def removed_meanwhile(file):
        if not calls:
            (tmp_path / "run.lock").unlink()
        calls.append(file)
        return real(file)

    monkeypatch.setattr(lock, "_lock", removed_meanwhile)
    with RunLock(tmp_path), pytest.raises(ConfigError, match="is in use by"):
        RunLock(tmp_path).__enter__()
    assert len(calls) == 3


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "outside").write_text("precious")
    (tmp_path / "run" / "run.lock").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError), RunLock(tmp_path / "run"):
        pass
    assert (tmp_path / "outside").read_text() == "precious"
