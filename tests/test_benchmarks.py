"""The tables of the benchmarks' page come from the results files, and the workers run."""

import importlib
import json
import sys

import brainunit as u
import numpy as np
import pytest

import spiketrain as st
from benchmarks import circuits, memory, reference, trainer, training, training_table, workloads
from benchmarks.__main__ import HERE, TABLES, updated
from benchmarks.training import WORKERS
from scripts.readme import origin, put_table


@pytest.mark.parametrize("name", sorted(TABLES))
def test_the_page_shows_the_results_file(name, tmp_path):
    results = json.loads((HERE / "results" / f"{name}.json").read_text())
    page = tmp_path / "README.md"
    page.write_text((HERE / "README.md").read_text())
    put_table(page, TABLES[name](results) + "\n\n" + origin(results), by="python -m benchmarks", name=name)
    assert page.read_text() == (HERE / "README.md").read_text(), f"run `{results['command']}`"


def test_the_main_page_shows_the_training_results(tmp_path):
    results = json.loads((HERE / "results" / "train.json").read_text())
    text, page = (HERE.parent / "README.md").read_text(), tmp_path / "README.md"
    if "<!-- train:" not in text:
        pytest.skip("the main page has no place for this table")
    page.write_text(text)
    put_table(page, training_table.short(results) + "\n\n" + origin(results), by="python -m benchmarks", name="train")
    assert page.read_text() == text, f"run `{results['command']}`"


def test_ratios_are_taken_within_rounds():
    worker = {"build_s": 0.1, "first_run_s": 1.0, "versions": {"other": "1.0"}}
    ours, theirs = ([{"seconds": s, "rate_hz": 18.0} for s in times] for times in ((1.0, 2.0, 4.0), (3.0, 4.0, 12.0)))
    table = circuits.coba_table(
        {
            "seconds": 2.0,
            "rounds": {"spiketrain": ours, "other": theirs},
            "workers": {"spiketrain": worker, "other": worker},
        }
    )
    assert "| spiketrain | 1.00 | 0.50 to 2.00 | 1.00 | 18.0 Hz | 0.1 s | 1.0 s |" in table
    assert "| other 1.0 | 2.00 | 1.50 to 6.00 | 3.00 | 18.0 Hz | 0.1 s | 1.0 s |" in table


def test_a_worker_runs_by_itself():
    results = circuits.alone("long", 0.02)
    assert results["steps"] == 200 and results["rate_hz"] > 0
    large = circuits.alone("large", 1000, 100, 0.01)
    assert 90_000 < large["connections"] < 110_000 and large["peak_memory_gb"] > 0


def test_the_price_of_a_memory_budget_is_taken_within_rounds(monkeypatch):
    def run(worker, T, B, part, rounds):
        side = {"temporaries_mb": 80.0, "piece_steps": None, "losses": [3.0, 2.5]}
        pieces = side | {"temporaries_mb": 9.0, "piece_steps": 25, "rounds": [{"seconds": 3.0, "cpu_s": 1.5}] * 3}
        if rounds:
            side["rounds"] = [{"seconds": s, "cpu_s": 1.0} for s in (1.0, 2.0, 4.0)]
        return {"T": T, "B": B, "budget_mb": part * 80.0, "whole": side, "pieces": pieces}

    monkeypatch.setattr(memory, "alone", run)
    text = memory.table(memory.memory([100, 1000], 8, 3))
    took = "within a budget | 9.0 MB | 10.0 MB | 25 steps | 3.00"
    assert f"| T 100, B 8, {took} | 1.50 | 1.50 | 3.0000 | 2.5000 |" in text
    assert f"| T 1,000, B 8, {took} |  |  | 3.0000 | 2.5000 |" in text

    def wrong(*arguments):
        found = run(*arguments)
        return found | {"pieces": found["pieces"] | {"losses": [3.0, 2.6]}}

    monkeypatch.setattr(memory, "alone", wrong)
    with pytest.raises(SystemExit, match="losses of T 100 in pieces"):
        memory.memory([100], 8, 3)


def test_what_a_run_takes_besides_its_steps_is_a_part_of_the_run_of_that_round():
    def side(seconds, cpu):
        return {"seconds": seconds, "cpu_s": cpu}

    def round_(run, steps):
        parts = {"evaluation": side(0.1, 0.2) | {"compile_s": 0.05}, "logging": side(0.5, 0.5) | {"compile_s": 0.0}}
        clocked = {"took": side(5.0, 10.0), "parts": parts}
        return {"run": side(run, 2 * run), "steps": side(steps, steps), "end": side(0.5, 1.0), "parts": clocked}

    rounds = [round_(2.0, 1.0), round_(4.0, 1.0), round_(2.5, 1.5)]
    text = trainer.table({"first": 10, "last": 1010, "cold": side(9.0, 9.0), "rounds": rounds})
    assert "| steps 11 to 1010 of a run | 2.50 | 100.0 % | 5.00 | 100.0 % |" in text
    assert "| 1,000 jitted steps alone | 1.00 | 50.0 % | 1.00 | 25.0 % |" in text
    assert "| **everything but the jitted steps** | 1.00 | 50.0 % | 3.50 | 75.0 % |" in text
    assert "0.05 s of it compiling | 0.10 | 2.0 % | 0.20 | 2.0 % |" in text
    assert "the bar | 0.50 | 10.0 % | 0.50 | 5.0 % |" in text
    assert "the test set, a picture | 0.50 | 20.0 % | 1.00 | 20.0 % |" in text


@pytest.mark.every
def test_a_worker_trains_within_a_memory_budget():
    found = circuits.alone("memory", 100, 16, 0.5, 1)
    whole, pieces = found["whole"], found["pieces"]
    assert pieces["temporaries_mb"] <= found["budget_mb"] == whole["temporaries_mb"] / 2 and pieces["piece_steps"] < 100
    np.testing.assert_allclose(pieces["losses"], whole["losses"], rtol=1e-3)
    assert len(set(whole["losses"])) > 1


def tiny(kind):
    """Return a workload small enough to check by eye."""
    sizes = (34, 34, 2) if kind == "conv" else (5,) if kind in ("forward", "backward") else (12, 9, 8, 4)
    return workloads.Workload("tiny", kind, 6 if kind == "conv" else 20, 8, sizes, 0.3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["feedforward", "recurrent", "conv", "forward", "backward"])
def test_spiketrain_has_the_loss_and_the_rates_of_the_reference(kind, tmp_path, monkeypatch):
    workload = tiny(kind)
    arrays = workloads.draw(workload)
    np.savez(tmp_path / "arrays.npz", **arrays)
    monkeypatch.syspath_prepend(str(WORKERS))
    monkeypatch.syspath_prepend(str(WORKERS.parent))
    worker = importlib.import_module("train_spiketrain")
    with st.environ.context(dt=1.0 * u.ms):  # the worker sets it for its process
        monkeypatch.setattr(st.environ, "set", lambda **_: None)
        task = {"arrays": str(tmp_path / "arrays.npz"), "workload": workload.as_dict(), "options": {}}
        measure, step = worker.prepare(task)
        loss, rates = measure()
        before = step()
        after = step()
    goal = reference.first(kind, arrays)
    np.testing.assert_allclose(loss, goal["loss"], rtol=1e-5)
    np.testing.assert_allclose(rates, goal["rates"], rtol=1e-5)
    assert all(0.05 < rate < 0.15 for rate in rates)
    if before is not None:
        np.testing.assert_allclose(before, loss, rtol=1e-5)
        assert after < before


def test_the_reference_by_hand():
    I = np.array([0.6, 0.6, 0.845, 0.0, 2.5, 0.0])[:, None]
    # u: 0.6; 1.17, a spike; 0.95 * 0.17 + 0.845 = 1.0065, a spike; 0.006; 2.506, a spike; 0.95 * 1.506 = 1.43, another.
    np.testing.assert_array_equal(reference.lif(I)[:, 0], [0, 1, 1, 0, 1, 1])
    # The threshold is 1.1 when a spike has been counted, and the feedback of -0.2 arrives a step after its spike.
    driven = np.array([1.0, 1.25, 0.8, 0.0])[:, None]
    # u: 1, a spike; 1.25 - 0.2 = 1.05 < 1.1; 0.9975 + 0.8 > 1.097, a spike; 0.95 * 0.7975 - 0.2.
    np.testing.assert_array_equal(reference.alif(driven, np.array([[-0.2]]))[:, 0], [1, 0, 1, 0])
    x, w = np.zeros((1, 8, 8, 1)), np.zeros((5, 5, 1, 1))
    x[0, 1, 2, 0], w[0, 1, 0, 0] = 1.0, 2.0
    y = reference.convolved(x, w)  # 2 at (1, 1) of 4 x 4, a quarter of it at (0, 0) of 2 x 2
    np.testing.assert_array_equal(y[0, :, :, 0], [[0.5, 0.0], [0.0, 0.0]])


def test_the_loss_of_the_reference_by_hand():
    # One hidden neuron that spikes at step 0 of 2: the readout holds w and then 0.95 w.
    arrays = {"x": np.array([[[1]], [[0]]], np.uint8), "y": np.array([1]), "w0": np.array([[1.0]]), "w1": np.eye(1, 2)}
    seen = reference.first("feedforward", arrays)
    assert seen["rates"] == [0.5]
    np.testing.assert_allclose(seen["loss"], np.log(np.exp(0.975) + 1))


def report(loss, *seconds):
    """Return what a worker might report."""
    rounds = [{"seconds": s, "cpu_s": 2 * s, "peak_memory_mb": 100.0} for s in seconds]
    seen = {"first_loss": loss, "loss_after_updates": 2.5, "rates": [0.1], "rounds": rounds}
    return seen | {"import_s": 1.0, "compile_s": 2.0, "versions": {"other": "1.0"}}


def training_results(ours, **changes):
    """Return results of one workload for spiketrain and Spyx."""
    rows = {"spiketrain": report(ours, 0.01, 0.021, 0.04), "Spyx": report(2.9, 0.03, 0.04, 0.2)}
    rows["Spyx, by layer"] = report(2.9, 0.02, 0.02, 0.08)
    reference = {"loss": 3.0, "rates": [0.1]}
    entry = workloads.W1().as_dict() | {"title": "W1", "reference": reference, "default": rows} | changes
    return {"rounds": 3, "seed": 7, "missing": {"sparx": "needs Python 3.12"}, "workloads": [entry]}


def test_training_ratios_are_taken_within_rounds_and_other_losses_are_marked():
    results = training_results(3.0)
    assert "| W1 | 21 | 40 (3.00) | 20 (2.00) |" in training_table.page(results)
    assert "| Spyx 1.0 | 40 | 30 to 200 | 3.00 | 80 | 2.0 s | 1.0 s | 100 MB | other: 2.90000 |" in training_table.page(
        results
    )
    assert "| spiketrain | 21 | 10 to 40 | 1.00 | 42 | 2.0 s | 1.0 s | 100 MB | 3.00000 |" in training_table.page(
        results
    )
    assert "sparx is not in the table: needs Python 3.12." in training_table.page(results)
    assert training_table.short(results).endswith(
        "| ms per step | spiketrain | Spyx |\n|---|---|---|\n| W1 | 21 | 20 (2.00) |"
    )


@pytest.mark.parametrize("loss", [3.0 * 1.0002, 3.0 * 0.9998, float("nan")])
def test_no_speed_of_spiketrain_is_shown_where_its_loss_is_another(loss):
    results = training_results(loss)
    for table in (training_table.page(results), training_table.short(results)):
        assert "refused: first loss" in table
        assert "| 21 |" not in table and "(2.00)" not in table
    if loss == loss:
        assert "refused" not in training_table.page(training_results(loss, kind="recurrent"))


def test_sizes_come_from_the_command_line_and_from_the_seed():
    (w,) = training.chosen(["W1"], {"T": 7, "sizes": [5, 4, 3]}, 0)
    assert (w.T, w.B, w.sizes, w.title) == (7, 64, (5, 4, 3), "W1 5-4-3, T 7, B 64")
    assert [w.title for w in training.chosen(["W1", "M2"], {}, 0)] == [
        "W1 700-256-256-20, T 100, B 64",
        "W1 700-256-256-20, T 100, B 256",
        "W1 700-256-256-20, T 250, B 64",
        "M2 512, T 1000, B 64",
    ]
    first, again, other = (training.chosen(["R"], {}, seed) for seed in (3, 3, 4))
    assert first == again != other and len(first) == 2
    for name, sizes in (("W3", {"sizes": [3]}), ("W1", {"sizes": [5, 4]}), ("M1", {"density": 0.5}), ("R", {"T": 5})):
        with pytest.raises(SystemExit):
            training.chosen([name], sizes, 0)


def test_an_update_keeps_the_other_workloads():
    old = {"command": "a", "seed": 1, "workloads": [{"title": "W1", "is": "old"}, {"title": "W2", "is": "old"}]}
    new = {"command": "b", "seed": 2, "workloads": [{"title": "W2", "is": "new"}, {"title": "W3", "is": "new"}]}
    old["workloads"][1]["tuned"] = 5
    found = updated(old, new)
    assert [(e["title"], e["is"]) for e in found["workloads"]] == [("W1", "old"), ("W2", "new"), ("W3", "new")]
    assert found["workloads"][1]["tuned"] == 5
    assert found["command"] == "a` and `b" and found["seed"] == 2


def test_one_layer_has_no_products_to_place():
    assert "Spyx, by layer" in training.rows_of(workloads.W1(), ["spyx"])
    assert list(training.rows_of(workloads.M1(), ["spyx"])) == ["spiketrain", "spiketrain, one device", "Spyx"]
    rows = ["spiketrain", "spiketrain, one device", "spiketrain, bf16 residual", "Spyx"]
    assert list(training.rows_of(workloads.M2(), ["spyx"])) == rows


def test_a_worker_that_ends_is_reported_and_the_others_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "WORKERS", tmp_path)
    monkeypatch.setattr(training, "python_of", lambda name: sys.executable)
    monkeypatch.setattr(training, "ROUND_S", 0.0)
    lines = [
        "import sys, json; sys.path.insert(0, sys.argv[0].rsplit('/', 1)[0])",
        f"sys.path.insert(0, {str(HERE)!r})",
    ]
    lines.append("from worker import serve_training")
    working = "serve_training(lambda task: (lambda: (1.0, [0.1]), lambda: 2.0), 'numpy')"
    (tmp_path / "train_spiketrain.py").write_text("\n".join([*lines, working]))
    (tmp_path / "train_spyx.py").write_text("raise SystemExit(1)")
    missing = (
        "def prepare(task):\n    raise NotImplementedError('has no such neuron')\nserve_training(prepare, 'numpy')"
    )
    (tmp_path / "train_norse.py").write_text("\n".join([*lines, missing]))
    rows = {"spiketrain": ("spiketrain", {}), "Spyx": ("spyx", {}), "Norse": ("norse", {})}
    seen = training.side_by_side(workloads.W1(), tmp_path / "none.npz", rows, 2, {})
    assert len(seen["spiketrain"]["rounds"]) == 2 and seen["spiketrain"]["first_loss"] == 1.0
    assert "ended" in seen["Spyx"]["missing"] and seen["Norse"]["missing"] == "has no such neuron"
    assert not seen["Spyx"]["rounds"] and not seen["Norse"]["rounds"]
