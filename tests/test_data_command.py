"""`spiketrain-data`: everything it lists can be checked and described, and what is missing is one line."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from event_files import bin_bytes, dat_bytes, write_gesture, write_hdf5

import spiketrain as st
from spiketrain.cli import data as cli
from spiketrain.data.catalogue import CATALOGUE


@pytest.fixture
def told(monkeypatch, capsys, tmp_path):
    """Run the command; return its exit code, what it printed, and its errors."""
    monkeypatch.setenv("SPIKETRAIN_DATA", str(tmp_path))

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["spiketrain-data", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            cli.command()
        out, err = capsys.readouterr()
        return left.value.code, out, err

    return run


def test_the_list_says_what_is_there_and_what_is_missing(told, tmp_path):
    write_gesture(tmp_path / "gesture")
    code, out, _ = told("list")
    assert code == 0
    for known in CATALOGUE.values():
        assert known.name in out and known.config in out and known.what in out
    assert f"found in {tmp_path / 'gesture'}" in out and "japanese" not in out
    assert f"missing: shd_train.h5, shd_test.h5 in {tmp_path / 'shd'}\n    get it: https://zenkelab.org" in out
    for side in ("Train", "Test"):
        (tmp_path / "nmnist" / side / "0").mkdir(parents=True)
    for recording in (tmp_path / "gesture").glob("*.aedat"):
        recording.unlink()
    _, out, _ = told("list")
    assert f"missing: Train/*/*, Test/*/* in {tmp_path / 'nmnist'}" in out
    assert f"missing: *.aedat in {tmp_path / 'gesture'}" in out
    code, out, err = told("check", "shd")
    assert code == 2 and out == "" and err.count("\n") == 1
    assert err.startswith("DataError: data=shd lacks shd_train.h5, shd_test.h5 in ") and "https://zenkelab.org" in err


def test_a_set_is_described_by_name_and_by_path(told, tmp_path):
    pytest.importorskip("h5py", reason="pip install 'spiketrain[hdf5]'")
    trials = [([0.1, 0.25], [3, 9]), ([0.5, np.nan], [1, 2]), ([0.125], [4])]
    (tmp_path / "shd").mkdir()
    for side in ("train", "test"):
        write_hdf5(tmp_path / "shd" / f"shd_{side}.h5", trials, [0, 1, 1], keys=["zero", "one"], dtype=np.float32)
    code, out, _ = told("describe", "shd")
    assert code == 0 and "train: 3 trials, 4 events, 1 dropped" in out and "channels: 700" in out
    assert "duration: 0.125 to 0.5 s, median 0.25" in out and "events per trial: 1 to 2, median 1" in out
    assert "classes: 2, of 1 to 2 trials: zero 1, one 2" in out
    code, out, _ = told("check", "shd", "--path", tmp_path / "shd")
    assert (
        code == 0
        and "channels" not in out
        and out.endswith(
            "\nIncomplete: train has 3 of 8,156 trials and 2 of 20 classes, test has 3 of 2,264 trials and 2 of 20 classes. "
            "What is there can be read.\n"
        )
    )
    code, out, _ = told("describe", tmp_path / "shd" / "shd_test.h5")
    assert code == 0 and "shd_test.h5: 3 trials, 4 events, 1 dropped" in out and "channels: 10\n" in out
    write_hdf5(tmp_path / "shd" / "shd_test.h5", [], [])
    for word in ("check", "describe"):
        code, out, err = told(word, "shd")
        assert code == 2 and out == "" and err == "DataError: shd: test holds no trial.\n"
    (tmp_path / "shd" / "shd_test.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    code, _, err = told("check", "shd")
    assert code == 2 and err.count("\n") == 1 and "shd_test.h5 (8 bytes) is no readable HDF5 file" in err


def test_every_kind_of_file_is_described(told, tmp_path):
    rng = np.random.default_rng(0)
    times, x, y, p = np.sort(rng.integers(0, 9_000, 7)), *rng.integers(0, 30, (2, 7)), rng.integers(0, 2, 7)
    (tmp_path / "a.bin").write_bytes(bin_bytes(times, x, y, p))
    (tmp_path / "a.dat").write_bytes(dat_bytes(times, x, y, p))
    np.savez(tmp_path / "a.npz", t=times, x=x, y=y, p=p)
    events = st.Events.of_trials([(times, x), (times, y)], [0, 1], (30,))
    st.save_events(tmp_path / "own.npz", {"train": events, "test": events}, ("a", "b"))
    (tmp_path / "a.ts").write_text("@classLabel true a b\n@data\n1,2:a\n1,2,3:b\n")
    for word, expected in {
        "a.bin": ["a.bin: 1 trials, 7 events, 0 dropped", "channels: 2 x 34 x 34"],
        "a.dat": ["7 events", "channels: 2 x 240 x 304"],
        "a.npz": ["7 events", "channels: 2 x 128 x 128"],
        "own.npz": ["train: 2 trials, 14 events", "classes: 2, of 1 to 1 trials: a 1, b 1"],
        "a.ts": ["a.ts: 2 trials\n", "duration: 2 to 3 steps, median 2.5"],
        "vowels": ["train: 270 trials\n", "channels: 12", "duration: 7 to 26 steps", "speaker 9 30"],
    }.items():
        code, out, err = told("describe", tmp_path / word if "." in word else word)
        assert code == 0, err
        for line in expected:
            assert line in out, (word, out)
    code, out, _ = told("describe", tmp_path / "a.bin", "--size", "40x50")
    assert code == 0 and "channels: 2 x 40 x 50" in out
    assert told("check", "vowels")[1].endswith("test: 370 trials\nAll of it can be read.\n")
    (tmp_path / "late.dat").write_bytes(dat_bytes([0, 2**31], [1, 1], [1, 1], [0, 1]))
    code, _, err = told("describe", tmp_path / "late.dat")
    assert code == 2 and "late.dat: Events, trial 0: times must lie between" in err


def test_the_catalogue_counts_as_it_says():
    for known in CATALOGUE.values():
        numbers = [int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", known.what)]
        assert {*known.trials.values(), known.classes} <= set(numbers), known.name


@pytest.mark.parametrize(
    "words, message",
    [
        (["nowhere"], "nowhere is neither a file or folder nor one of the names vowels, mnist"),
        (["mnist", "--size", "28"], "--size 28 must be rows x columns"),
        (["mnist", "--size", "28x28"], "mnist has a size of its own"),
        (["a.txt"], "a.txt ends in none of .h5"),
        (["a.txt", "--path", "."], "a.txt is none of the names"),
        (["."], "has no folder `train`"),
        (["~nouser/x"], "~nouser/x is neither a file or folder"),
        (["shd", "--path", "~nouser/x"], "data=shd lacks shd_train.h5, shd_test.h5 in ~nouser/x"),
        (["pipe.npz"], "pipe.npz is no regular file"),
        (["spoken_digits"], "make it from the recordings in https://github.com/Jakobovski/free-spoken-digit-dataset"),
    ],
)
def test_a_mistake_is_one_line(told, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("")
    os.mkfifo("pipe.npz")
    code, out, err = told("describe", *words)
    assert code == 2 and out == "" and err.count("\n") == 1 and message in err


def test_the_command_starts_without_jax():
    code = "import sys, spiketrain.cli.data, spiketrain.data.inspection; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
