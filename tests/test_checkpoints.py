"""Checkpoints on their own: no trainer, no model, a few arrays."""

import errno
import json
import os
import shutil
import threading
import time
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from spiketrain.errors import CheckpointError
from spiketrain.training import arrays, saved
from spiketrain.training.checkpoint import Checkpoints, find, restore_newest, steps_in
from spiketrain.training.saved import DamagedCheckpointError, read, read_meta, restore, verify

from runs import seal

ROW = "arrays"
"""What they lie in."""

SIZE = 800 + 40 + 16 + 8 + 24 + 0 + 8
"""Its bytes: each begins at a multiple of eight."""

LAYOUT = SimpleNamespace(names=["w/kernel", "w/bias", "low", "key", "keys", "none", "step"])


def leaves(step):
    return [
        jnp.arange(200.0).reshape(20, 10) * step,
        jnp.full((10,), float(step)),
        jnp.arange(5, dtype=jnp.bfloat16),
        jax.random.key(step),
        jax.random.split(jax.random.key(step), 3),
        jnp.ones((0, 3)),
        jnp.asarray(step, jnp.int32),
    ]


def bits(x):
    return arrays.to_host({"x": x}).named["x"].tobytes()


def same(found, wanted):
    assert [x.dtype for x in found] == [x.dtype for x in wanted] and [x.shape for x in found] == [
        x.shape for x in wanted
    ]
    assert [bits(x) for x in found] == [bits(x) for x in wanted]


def meta(accuracy=None, **more):
    return {"config": {}, "metrics": {} if accuracy is None else {"validation/accuracy": accuracy}, **more}


def saves(folder, steps, **options):
    checkpoints = Checkpoints(folder, **options)
    for step, accuracy in steps.items():
        checkpoints.save(step, leaves(step), LAYOUT, meta(accuracy))
    checkpoints.finish()
    checkpoints.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "checkpoints"
    saves(folder, {1: 0.9, 2: 0.5})
    assert steps_in(folder) == [1, 2]
    return folder


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "checkpoints")


def test_every_kind_of_leaf_returns_with_its_bits_and_its_place(made):
    like = leaves(7)
    same(restore(made / "2", like, LAYOUT), leaves(2))
    assert [x.sharding for x in restore(made / "2", like, LAYOUT)] == [x.sharding for x in like]
    some_of_them = read(made / "2", {name: like[LAYOUT.names.index(name)] for name in ("low", "key")})
    same([some_of_them["low"], some_of_them["key"]], leaves(2)[2:4])


def test_what_is_saved_is_the_state_of_that_moment_though_a_step_donates_it(tmp_path):
    checkpoints, state = Checkpoints(tmp_path), leaves(3)
    step = jax.jit(lambda xs: [x * 2 for x in xs], donate_argnums=0)
    checkpoints.save(3, state, LAYOUT, meta())
    for _ in range(3):
        state[:3] = step(state[:3])
    checkpoints.close()
    same(restore(tmp_path / "3", leaves(0), LAYOUT), leaves(3))


@pytest.mark.parametrize(
    "keep, monitor, wanted",
    [(0, "accuracy", [9]), (1, "accuracy", [5, 9]), (2, "accuracy", [3, 5, 9]), (1, "loss", [2, 9])],
)
def test_the_last_and_the_best_are_kept_by_step_and_never_by_clock(tmp_path, keep, monitor, wanted):
    checkpoints = Checkpoints(tmp_path, keep_best=keep, monitor=f"validation/{monitor}")
    for step, score in {2: 0.1, 3: 0.6, 5: 0.6, 9: None}.items():
        measured = {} if score is None else {f"validation/{monitor}": score}
        checkpoints.save(step, leaves(step), LAYOUT, {"config": {}, "metrics": measured})
    checkpoints.close()
    assert steps_in(tmp_path) == wanted
    os.utime(tmp_path / "9", (0, 0))
    assert find(tmp_path).name == "9"
    if keep:
        assert find(tmp_path, "best", f"validation/{monitor}").name == str(wanted[-2])


def test_the_best_of_before_a_resume_stays(folder):
    saves(folder, {3: 0.2, 4: 0.3})
    assert steps_in(folder) == [1, 4]


def test_what_a_killed_process_left_is_removed_at_the_start(folder):
    shutil.copytree(folder / "2", folder / "3.tmp")
    (folder / "2").rename(folder / "2.old.tmp")
    (folder / "4.damaged").mkdir()
    Checkpoints(folder).close()
    assert sorted(path.name for path in folder.iterdir()) == ["1", "4.damaged"]


# Failures of the disk and of the thread


def fails(monkeypatch, error, times=1):
    """Let the next writes of arrays fail half-way."""
    write, left = arrays.write, [error] * times

    def failing(place, state):
        if left:
            place.mkdir()
            (place / "half").write_bytes(b"half of it")
            raise left.pop()
        write(place, state)

    monkeypatch.setattr(arrays, "write", failing)


def test_a_failed_write_is_a_warning_and_the_next_save_tries_again(tmp_path, monkeypatch, caplog):
    saves(tmp_path, {1: 0.1})
    fails(monkeypatch, OSError(errno.ENOSPC, "No space left on device"))
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(2, leaves(2), LAYOUT, meta(0.2))
    checkpoints.wait()
    checkpoints.poll()
    [message] = caplog.messages
    assert "checkpoint of step 2 could not be written: [Errno 28] No space left on device" in message
    assert "step 1 is kept" in message and sorted(os.listdir(tmp_path)) == ["1"]
    same(restore_newest(tmp_path, leaves(0), LAYOUT)[0], leaves(1))
    checkpoints.save(3, leaves(3), LAYOUT, meta(0.3))
    checkpoints.finish()
    checkpoints.close()
    assert len(caplog.messages) == 1 and steps_in(tmp_path) == [3]


def test_a_last_checkpoint_that_cannot_be_written_is_an_error(tmp_path, monkeypatch, caplog):
    fails(monkeypatch, OSError(errno.EDQUOT, "Disk quota exceeded"))
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(2, leaves(2), LAYOUT, meta())
    with pytest.raises(
        CheckpointError, match=r"of step 2, could not be written: .*quota exceeded; there is no checkpoint"
    ):
        checkpoints.finish()
    checkpoints.close()
    assert len(caplog.messages) == 1


def test_another_error_surfaces_at_the_next_step(tmp_path, monkeypatch):
    fails(monkeypatch, ZeroDivisionError("a mistake"))
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(2, leaves(2), LAYOUT, meta())
    with pytest.raises(ZeroDivisionError, match="a mistake"):
        for _ in range(5000):
            checkpoints.poll()
            time.sleep(0.001)
    checkpoints.poll()
    checkpoints.close()
    assert os.listdir(tmp_path) == []


def test_poll_does_not_wait(tmp_path, monkeypatch):
    go_on, write = threading.Event(), arrays.write
    monkeypatch.setattr(arrays, "write", lambda *arguments: (go_on.wait(20), write(*arguments)))
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(2, leaves(2), LAYOUT, meta())
    checkpoints.poll()
    assert steps_in(tmp_path) == []
    go_on.set()
    checkpoints.close()
    assert steps_in(tmp_path) == [2]


def test_a_step_that_cannot_be_removed_is_a_warning(tmp_path, monkeypatch, caplog):
    saves(tmp_path, {1: None})
    rmtree = shutil.rmtree

    def refuse(path, **options):
        if path.name.endswith(".old.tmp"):
            raise PermissionError(13, "Permission denied")
        rmtree(path, **options)

    monkeypatch.setattr(shutil, "rmtree", refuse)
    saves(tmp_path, {2: None})
    [message] = caplog.messages
    assert "old checkpoint of step 1 could not be removed" in message and steps_in(tmp_path) == [2]


# Damage

KINDS = {
    "flipped": lambda path, at: path.write_bytes(flipped(path.read_bytes(), at)),
    "truncated": lambda path, at: os.truncate(path, int(at * path.stat().st_size)),
    "emptied": lambda path, at: os.truncate(path, 0),
    "deleted": lambda path, at: path.unlink(),
    "longer": lambda path, at: path.write_bytes(path.read_bytes() + b"\0"),
    "a link": lambda path, at: (
        shutil.copy(path, path.parent.parent / "same"),
        path.unlink(),
        path.symlink_to("../same"),
    ),
}


def flipped(content, at):
    changed = bytearray(content)
    changed[int(at * len(content))] ^= 1 << int(at * 1000) % 8
    return bytes(changed)


def files(step):
    return sorted(str(path.relative_to(step)) for path in step.rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", KINDS)
def test_damage_to_any_file_is_seen_and_the_step_before_is_used(folder, tmp_path, caplog, kind):
    names = files(folder / "2")
    assert {"manifest.json", "meta.json", "state/_METADATA", f"state/{ROW}/.zarray"} <= set(names) and len(names) == 5
    for at, name in enumerate(names):
        step = shutil.copytree(folder / "2", tmp_path / "2")
        path = step / name
        KINDS[kind](path, at / len(names))
        with pytest.raises(DamagedCheckpointError) as error:
            verify(step)
        assert str(step) in str(error.value) and path.name in str(error.value) and "\n" not in str(error.value)
        with pytest.raises(DamagedCheckpointError):
            restore(step, leaves(0), LAYOUT)
        shutil.rmtree(step)
    KINDS[kind](folder / "2" / names[-1], 0.5)
    found, newest = restore_newest(folder, leaves(0), LAYOUT)
    same(found, leaves(1))
    [message] = caplog.messages
    assert newest.name == "1" and f"{folder / '2'} cannot be read" in message and "set aside as 2.damaged" in message


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=some.sampled_from(["manifest.json", "meta.json"]), at=some.floats(0, 0.9999), bit=some.integers(0, 7))
def test_no_bit_of_the_json_can_flip_unseen(made, tmp_path, name, at, bit):
    step = shutil.copytree(made / "2", tmp_path / "2", dirs_exist_ok=True)
    content = bytearray((step / name).read_bytes())
    content[int(at * len(content))] ^= 1 << bit
    (step / name).write_bytes(content)
    with pytest.raises(DamagedCheckpointError):
        read_meta(step)


def test_an_array_that_differs_though_its_file_does_not_is_named(folder, monkeypatch):
    def write_another(place, row):
        write(place, row + (np.arange(SIZE) == 805).astype(np.uint8))

    write = arrays.write
    monkeypatch.setattr(arrays, "write", write_another)
    saves(folder, {3: None})
    verify(folder / "3")
    with pytest.raises(DamagedCheckpointError, match="array `w/bias` is not what was written"):
        restore(folder / "3", leaves(0), LAYOUT)


def test_a_step_under_the_number_of_another_is_damaged(folder):
    (folder / "2").rename(folder / "7")
    with pytest.raises(DamagedCheckpointError, match="it is step 2"):
        verify(folder / "7")


def test_a_step_of_an_earlier_format_is_no_damage(folder):
    (folder / "2" / "meta").mkdir()
    with pytest.raises(CheckpointError, match="has checkpoint format 1; this version reads 5") as error:
        restore_newest(folder, leaves(0), LAYOUT)
    assert not isinstance(error.value, DamagedCheckpointError) and steps_in(folder) == [1, 2]


# Forgery: the checksums fit, what they cover was made by a stranger


def forged(folder, change):
    step = folder / "2"
    content = json.loads((step / "meta.json").read_text())
    change(content)
    (step / "meta.json").write_text(json.dumps(content))
    seal(step)
    return step


def deep():
    data = []
    for _ in range(60):
        data = [data]
    return data


@pytest.mark.parametrize(
    "key, value",
    [
        ("step", -1), ("step", 2**31), ("step", True), ("step", "2"), ("step", 7), ("leaves", []), ("config", 3),
        ("metrics", {"validation/accuracy": "high"}), ("metrics", {"validation/accuracy": 10**400}),
        ("metrics", {"validation/accuracy": float("nan")}), ("metrics", [1]), ("config", {"model": deep()}),
    ],
)  # fmt: skip
def test_forged_meta_data_are_one_error(folder, tmp_path, key, value):
    step = forged(folder, lambda content: content.update({key: value}))
    if key == "step" and value != 7:
        (folder / "1").rename(folder / "1.damaged")
        step = step.rename(tmp_path / "under a name of its own")
        folder = step
    for look in (
        lambda: restore(step, leaves(0), LAYOUT),
        lambda: verify(step) if folder == step else find(folder, "best"),
    ):
        with pytest.raises(DamagedCheckpointError) as error:
            look()
        assert "\n" not in str(error.value) and len(str(error.value)) < 1000


def test_a_huge_file_of_meta_data_is_refused_unread(folder):
    os.truncate(folder / "2" / "meta.json", 10 * 2**30)
    with pytest.raises(DamagedCheckpointError, match="meta.json is larger than 8388608 bytes"):
        read_meta(folder / "2")


@pytest.mark.parametrize("piece", [[1 << 19, 1 << 19], [1, 10]])
def test_declared_shapes_take_no_memory(folder, piece):
    """Meta data and state agree on an array of a terabyte, of which no chunk was ever written."""
    huge = [1 << 19, 1 << 19]
    step = forged(folder, lambda content: content["leaves"].update({"w/bias": [huge, "float32", 1 << 40]}))
    with pytest.raises(CheckpointError, match="belongs to another model: 1 of 7 arrays differ, first `w/bias`"):
        restore(step, leaves(0), LAYOUT)
    forged(folder, lambda content: content["leaves"].update({"w/bias": [[10], "float32", 40]}))
    write_huge_array(step / "state", huge, piece)
    seal(step)
    with pytest.raises(DamagedCheckpointError, match=r"arrays is stored as \[524288, 524288\]"):
        restore(step, leaves(0), LAYOUT)


@pytest.mark.parametrize(
    "entry", [[[2], "float32", 1 << 40], [[2], "float32", -8], [[2], "float32", True], [[2], "float32"], 3, {}]
)
def test_no_neighbour_in_a_row_takes_memory_or_moves_what_is_wanted(folder, entry):
    """Only one array is wanted, and its neighbour is described by a stranger."""
    step = forged(folder, lambda content: content["leaves"].update({"w/kernel": entry}))
    with pytest.raises(DamagedCheckpointError, match="arrays is stored as|`w/kernel` is described as"):
        read(step, {"w/bias": leaves(0)[1]})


def test_large_pieces_take_no_memory(folder):
    """The row has the shape that is wanted, and is stored in pieces of a terabyte."""
    write_huge_array(folder / "2" / "state", [SIZE], [1 << 40])
    seal(folder / "2")
    with pytest.raises(DamagedCheckpointError, match=rf"arrays is stored as \[{SIZE}\] \|u1 in pieces of"):
        restore(folder / "2", leaves(0), LAYOUT)


def write_huge_array(state, shape, chunks):
    import tensorstore as ts

    store = {"driver": "file", "path": f"{state}/{ROW}/"}
    metadata = {"shape": shape, "chunks": chunks, "dtype": "|u1", "compressor": None, "fill_value": None, "order": "C"}
    spec = {"driver": "zarr", "kvstore": store, "metadata": metadata, "create": True, "delete_existing": True}
    ts.open(ts.Spec(spec)).result()


def test_a_database_is_not_opened(folder):
    """A forged one of 61 kB unpacks into 10 GB."""
    (folder / "2" / "state" / "manifest.ocdbt").write_bytes(b"")
    seal(folder / "2")
    with pytest.raises(DamagedCheckpointError, match="it holds a database"):
        restore(folder / "2", leaves(0), LAYOUT)


def test_special_files_and_links_are_refused(folder, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    for name in ("meta.json", "manifest.json", f"state/{ROW}/.zarray"):
        step = shutil.copytree(folder / "2", tmp_path / "2")
        for make in (lambda path: path.symlink_to(secret), lambda path: path.symlink_to("/dev/zero"), os.mkfifo):
            (step / name).unlink()
            make(step / name)
            with pytest.raises(DamagedCheckpointError, match="is a link|is no regular file|has another size"):
                restore(step, leaves(0), LAYOUT)
        shutil.rmtree(step)
    (folder / "5").symlink_to(folder / "2")
    assert steps_in(folder) == [1, 2]


def test_no_name_in_a_manifest_is_opened(folder, tmp_path):
    (tmp_path / "secret").write_text("secret")
    step = folder / "2"
    for name in ("../../secret", str(tmp_path / "secret")):
        manifest = json.loads((step / "manifest.json").read_text())
        sums = {**manifest["files"], name: saved._size_and_checksum(tmp_path / "secret")}
        (step / "manifest.json").write_bytes(saved._manifest(sums, manifest["arrays"]))
        with pytest.raises(DamagedCheckpointError, match="secret is missing"):
            verify(step)


JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=5),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
PLACES = some.sampled_from(["format", "step", "leaves", "config", "metrics", "files", "arrays"])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=PLACES, value=JSON)
def test_any_json_in_any_place_is_read_or_one_error(made, tmp_path, place, value):
    step = shutil.copytree(made / "2", tmp_path / "2", dirs_exist_ok=True)
    content, manifest = (json.loads((step / f"{name}.json").read_text()) for name in ("meta", "manifest"))
    (content if place in content else manifest)[place] = value
    (step / "meta.json").write_text(json.dumps(content))
    if place in content:
        seal(step)
    else:
        (step / "manifest.json").write_bytes(saved._manifest(manifest["files"], manifest["arrays"]))
    try:
        read_meta(step)
        verify(step)
    except CheckpointError as error:
        assert str(step) in str(error)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=some.sampled_from(["manifest.json", "meta.json"]), content=some.binary(max_size=40))
def test_any_bytes_are_one_error(made, tmp_path, name, content):
    step = shutil.copytree(made / "2", tmp_path / "2", dirs_exist_ok=True)
    (step / name).write_bytes(content)
    if name == "meta.json":
        seal(step)
    with pytest.raises(CheckpointError):
        verify(step)


def test_large_arrays_are_checked_by_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(saved, "BLOCK", 7)
    path = tmp_path / "file"
    path.write_bytes(np.random.default_rng(0).bytes(50))
    found = saved._size_and_checksum(path)
    monkeypatch.undo()
    assert found == saved._size_and_checksum(path)
