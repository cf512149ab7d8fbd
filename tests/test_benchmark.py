"""The benchmark: its workloads, its peers' agreement, what it does with a wrong one, and its reports."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from peers import require

from fastlstm.benchmark import limits, machine, measure, report, run
from fastlstm.benchmark.measure import TOLERANCES, PeerError, Spread, Worker, disagreement, errors
from fastlstm.benchmark.peers import JOBS, OURS, Variant, choose, ours, truth, variants
from fastlstm.benchmark.peers.base import LanguageModel
from fastlstm.benchmark.peers.fastlstm_ import Peer as Ours
from fastlstm.benchmark.peers.loop_ import Peer as Loop
from fastlstm.benchmark.peers.numpy_ import Peer as Vectorised
from fastlstm.benchmark.plot import check, plot
from fastlstm.benchmark.run import Bench, Measurement, Row, Settings
from fastlstm.benchmark.shapes import SAMPLING, SHAPES, Shape, Workload, make_workload, positions, real_mask
from fastlstm.commands import bench_
from fastlstm.commands.cli import main
from fastlstm.data.names import Names
from fastlstm.errors import FastLSTMError

NAMES = Names([start + end for start in ("a", "bo", "cy", "dor", "ed") for end in ("", "a", "lin", "bert")])
DENSE = Shape("notebook", 5, 2, 0, 6, 7, "one-hot")
EMBEDDED = Shape("names", 4, 3, 5, 6, 7, "with an embedding")
RAGGED = Shape("names-ragged", 8, 4, 5, 6, 7, "real names", ragged=True)
SAMPLED = replace(SAMPLING["sample-many"], H=8, E=3, B=40)
IN_PROCESS: dict[str, type[LanguageModel]] = {OURS: Ours, "loop": Loop, "numpy": Vectorised}


def test_workload_survives_its_file(tmp_path: Path) -> None:
    for shape in (DENSE, RAGGED):
        workload = make_workload(shape, NAMES)
        workload.save(tmp_path / "workload.npz")
        again = Workload.load(tmp_path / "workload.npz", workload.shape)
        assert again.parameters.keys() == workload.parameters.keys()
        for name, value in workload.parameters.items():
            np.testing.assert_array_equal(again.parameters[name], value)
        for ours_, theirs in zip(workload.batches, again.batches, strict=True):
            np.testing.assert_array_equal(ours_.ids, theirs.ids)
            np.testing.assert_array_equal(ours_.targets, theirs.targets)
            np.testing.assert_array_equal(real_mask(ours_), real_mask(theirs))


def test_buckets_hold_the_same_sequences_with_less_padding() -> None:
    workload = make_workload(RAGGED, NAMES)
    batches, buckets = workload.batches, workload.bucketed()

    def sequences(of: list) -> list[tuple[int, ...]]:
        return sorted(tuple(b.ids[:n, k].tolist()) for b in of for k, n in enumerate(b.lengths))

    assert len(batches) == 5
    assert sequences(batches) == sequences(buckets)
    assert sum(map(positions, batches)) == sum(map(positions, buckets))
    assert sum(b.ids.size for b in buckets) < sum(b.ids.size for b in batches)
    assert all(
        sorted(b.lengths)[::-1] == list(b.lengths) for b in (*batches, *buckets) if b.lengths is not None
    )


def test_ragged_shape_takes_the_names_sizes() -> None:
    shape = make_workload(RAGGED, NAMES).shape
    longest = max(map(len, NAMES))
    assert (len(set("".join(NAMES))) + 1, longest + 1) == (shape.V, shape.T)


@pytest.mark.parametrize("shape", [DENSE, EMBEDDED, RAGGED], ids=lambda shape: shape.name)
@pytest.mark.parametrize("job", ["training", "forward"])
def test_loop_numpy_and_ours_agree(shape: Shape, job: str) -> None:
    """The truth of every measurement is the vectorised NumPy in float64, so it must be the oracle's."""
    workload = make_workload(shape, NAMES)
    oracle = Loop(workload, job, Variant("loop", 1)).quantities()
    groups = {"logits"} if job == "forward" else {"loss", "gradient", "update"}
    assert {key.split()[0] for key in oracle} == groups
    expected = Vectorised(workload, job, truth(job, shape, 1)).quantities()
    assert max(errors(expected, oracle).values()) < 1e-12
    for peer in (OURS, "numpy"):
        found = IN_PROCESS[peer](workload, job, Variant(peer, 1)).quantities()
        assert disagreement(errors(found, oracle), TOLERANCES) == ""


def test_calls_count_real_characters() -> None:
    workload = make_workload(RAGGED, NAMES)
    driver = Vectorised(workload, "training", Variant("numpy", 1, "bucketed"))
    assert driver.cycle == len(driver.batches) == 5
    assert sum(driver.call(i) for i in range(5)) == sum(len(name) + 1 for name in NAMES)


def require_installed(*packages: str) -> None:
    """`require`, without an import: these packages would bring threads into the tests' own process."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            require(package)


@pytest.mark.parametrize(
    ("peer", "packages", "measured"),
    [
        (
            "torch",
            ("torch",),
            [(job, shape) for job in JOBS if job != "sample" for shape in (DENSE, RAGGED)]
            + [
                ("module", replace(DENSE, layers=2, directions=2, use=use))
                for use in ("", "inference", "loop")
            ],
        ),
        ("jax", ("jax",), [("training", RAGGED), ("forward", DENSE)]),
        ("onnxruntime", ("onnx", "onnxruntime"), [("forward", DENSE), ("forward", RAGGED)]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_installed_peers_agree_in_their_processes(
    peer: str, packages: tuple[str, ...], measured: list[tuple[str, Shape]], tmp_path: Path
) -> None:
    require_installed(*packages)
    file, answer = tmp_path / "workload.npz", tmp_path / "quantities.npz"
    worker, workload = Worker(Variant(peer, 1)), None
    try:
        for job, shape in measured:
            workload = make_workload(shape, NAMES)
            workload.save(file)
            tried = [variant for variant in variants(peer, job, shape, 1, quick=False) if variant.exact]
            if job == "module":
                tried.append(ours(job, shape, 1))
                worker.load(truth(job, shape, 1), job, workload.shape, file)
                expected = worker.quantities(answer)
            else:
                expected = Vectorised(workload, job, truth(job, shape, 1)).quantities()
            for variant in tried:
                worker.load(variant, job, workload.shape, file)
                wrong = disagreement(errors(worker.quantities(answer), expected), TOLERANCES)
                assert wrong == "", (variant.label, job, shape.name)
        assert workload is not None
        block = worker.block(0.01)
        assert block.calls >= 1
        assert block.characters >= positions(workload.batches[0])
        assert block.seconds >= 0.01
    finally:
        worker.close()


def test_samplers_draw_the_same_names(tmp_path: Path) -> None:
    require_installed("torch")
    workload = make_workload(SAMPLED, NAMES)
    file, answer = tmp_path / "workload.npz", tmp_path / "quantities.npz"
    workload.save(file)
    mine, theirs = Worker(Variant(OURS, 1)), Worker(Variant("torch", 1))
    try:
        for shape in (workload.shape, replace(workload.shape, B=1)):
            mine.load(ours("sample", shape, 1), "sample", shape, file)
            expected = mine.quantities(answer)
            assert len(np.unique(expected["names"], axis=0)) > 500
            for variant in variants("torch", "sample", shape, 1, quick=False):
                theirs.load(variant, "sample", shape, file)
                assert disagreement(errors(theirs.quantities(answer), expected), TOLERANCES) == "", (
                    variant.label
                )
        assert theirs.block(0).characters > 50
    finally:
        mine.close()
        theirs.close()


def test_errors_see_a_wrong_row_and_a_nan() -> None:
    expected = {"gradient W": np.ones((27, 4)), "loss": np.array([1.0, 2.0])}
    wrong = {"gradient W": np.ones((27, 4)), "loss": np.array([1.0, np.nan])}
    wrong["gradient W"][3] = 0
    found = errors(wrong, expected)
    assert found["gradient"] == pytest.approx(np.sqrt(1 / 27))
    assert found["loss"] == np.inf
    assert (
        disagreement(found, TOLERANCES)
        == "gradient off by 1.9e-01, 1e-04 allowed, loss off by inf, 1e-05 allowed"
    )


def test_a_dead_worker_is_an_error() -> None:
    worker = Worker(Variant("numpy", 1))
    worker.process.kill()
    worker.process.wait()
    with pytest.raises(PeerError, match="its process ended"):
        worker.ask("memory")
    worker.close()


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two small shapes in place of the real ones."""
    monkeypatch.setattr(run, "SHAPES", {shape.name: shape for shape in (DENSE, RAGGED)})


def settings(*jobs: str, peers: tuple[str, ...] = ("numpy",)) -> Settings:
    return Settings(jobs, threads=1, shapes=("notebook",), peers=peers, quick=True)


@pytest.mark.usefixtures("tiny")
def test_peer_that_fails_is_reported_and_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "variants", lambda *_: [Variant("nobody", 1), Variant("numpy", 1)])
    with Bench(settings("forward"), NAMES, lambda text: None) as bench:
        (measurement,) = bench.measurements()
        mine, nobody, good = measurement.rows
        assert nobody.problem.startswith("failed: ModuleNotFoundError")
        assert nobody.ratio is None
        assert not nobody.pairs
        assert mine.seconds > 0
        assert good.ratio is not None
        assert good.ratio.low <= good.ratio.median <= good.ratio.high
        assert "nobody, 1 thread: failed" in report.table(measurement)
        assert list(measurement.best()) == ["numpy"]
        processes = [worker.process for worker in bench.workers.values()]
    assert len(processes) == 2
    assert all(process.returncode is not None for process in processes)


@pytest.mark.usefixtures("tiny")
def test_peer_that_disagrees_is_reported_and_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(measure.TOLERANCES, "logits", 1e-30)
    with Bench(settings("forward"), NAMES, lambda text: None) as bench:
        (measurement,) = bench.measurements()
    (mine,) = measurement.rows
    assert mine.problem.startswith("does not agree: logits off by")
    assert mine.problem in report.table(measurement)
    assert measurement.best() == {}


@pytest.mark.usefixtures("tiny")
def test_command_prints_tables_and_writes_json_and_plot(tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in ("bench.json", "bench.png")]
    options = ["--quick", "--peer", "numpy", "--peer", "loop", "--threads", "1", "--training", "--forward"]
    result = CliRunner().invoke(main, ["bench", *options, "--json", files[0], "--plot", files[1]])
    assert result.exit_code == 0, result.output
    assert "GFLOP/s of f32 FMA from registers" in result.output
    for shape in (DENSE, RAGGED):
        assert f"{shape.name}, {report.JOBS['training']}" in result.output
    found = json.loads(Path(files[0]).read_text())
    assert found["machine"]["versions"]["numpy"] == np.__version__
    assert {"cpu", "cores", "commit"} <= found["machine"].keys()
    assert [(m["shape"]["name"], m["job"]) for m in found["measurements"]] == [
        (shape, job) for job in ("training", "forward") for shape in ("notebook", "names-ragged")
    ]
    for measurement in found["measurements"]:
        assert {"numpy", "loop"} == measurement["best"].keys()
        first = measurement["rows"][0]
        assert first["variant"]["peer"] == OURS
        per_character = SHAPES["notebook"].flops(1, measurement["job"] == "training")
        assert per_character > 0
        assert first["flops"] > 0
        for row in measurement["rows"][1:]:
            assert len(row["pairs"]) == 3
    assert Path(files[1]).read_bytes().startswith(b"\x89PNG")


def test_fresh_process_tells_its_time_and_memory() -> None:
    with Bench(settings("training"), NAMES, lambda text: None) as bench:
        found = bench.start(DENSE, Variant("numpy", 1), {})
    assert 0 < found["first_step"] < 60
    assert 0 <= found["beyond_libraries"] < found["peak"] < 1e9
    title, line = report.starts([found]).splitlines()
    assert line.split()[:4] == ["notebook:", "numpy,", "1", "thread"]
    assert "first step" in title


def test_table_marks_what_is_inexact_and_shares_the_peak() -> None:
    rows = [
        Row(Variant(OURS, 2), seconds=0.01, characters=2e5, flops=1e11),
        Row(Variant("torch", 2), seconds=0.02, characters=1e5, flops=5e10, ratio=Spread(2.0, 1.9, 2.1)),
        Row(Variant("torch", 1), seconds=0.03, characters=7e4, flops=3e10, ratio=Spread(3.0, 2.9, 3.1)),
        Row(Variant("torch", 2, "bf16", exact=False), flops=9e10, ratio=Spread(0.9, 0.8, 1.0)),
    ]
    measurement = Measurement(SHAPES["names"], "training", {1: 1e11, 2: 2e11}, rows)
    lines = report.table(measurement).splitlines()
    assert lines[2].split() == ["fastlstm,", "2", "threads", "10.0", "200,000", "100", "50%"]
    assert lines[3].split()[-5:] == ["50.0", "25%", "2.00", "×", "1.90–2.10"]
    assert lines[4].split()[-5:-3] == ["30.0", "30%"]
    assert "(inexact)" in lines[5]
    assert measurement.best()["torch"] is rows[1]
    assert report.summary([measurement]).splitlines()[1].split() == ["names,", "training", "2.00", "×"]


def test_heading_warns_of_cores_that_are_not_there() -> None:
    found = {
        "cpu": "a CPU", "cores": 2, "system": "Linux", "python": "3.13", "versions": {}, "commit": None,
        "modified": None, "read_matrix": {1: 4e10, 2: 5e10}, "read_memory": {1: 1e10, 2: 1e10},
    }  # fmt: skip
    assert "not free" not in report.heading(found | {"fma_peak": {1: 1e11, 2: 1.9e11}})
    assert "together reach 1.10 times one core's peak" in report.heading(
        found | {"fma_peak": {1: 1e11, 2: 1.1e11}}
    )


def test_plot_says_what_it_cannot_do(tmp_path: Path) -> None:
    with pytest.raises(FastLSTMError, match=r"must end in \.png"):
        check(tmp_path / "bench.txt")
    with pytest.raises(FastLSTMError, match="nothing to plot"):
        plot({"measurements": []}, tmp_path / "bench.png")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--json", "nowhere/bench.json"], "there is no folder nowhere"),
        (["--plot", "bench.txt"], "must end in .png"),
        (["--names", "nowhere.csv"], "nowhere.csv"),
    ],
)
def test_command_refuses_before_it_measures(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(main, ["bench", *arguments])
    assert result.exit_code == 1
    assert message in result.output
    assert result.output.count("\n") == 1


def test_missing_peer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "jax" else object())
    assert choose("training", ()) == ["loop", "numpy", "torch"]
    assert choose("training", (), quick=True) == ["torch"]
    with pytest.raises(FastLSTMError, match="jax, which is missing: pip install"):
        choose("training", ("jax",))


def test_command_offers_every_shape_and_peer() -> None:
    assert tuple(SHAPES) == bench_.SHAPES
    assert set(bench_.PEERS) == {peer for peers in JOBS.values() for peer in peers}


def test_every_variant_of_every_peer_has_its_own_label() -> None:
    for job, peers in JOBS.items():
        for shape in SAMPLING.values() if job == "sample" else SHAPES.values():
            labels = [v.label for peer in peers for v in variants(peer, job, shape, 2, quick=False)]
            assert len(set(labels)) == len(labels) > 0


def test_limits_are_those_of_some_machine() -> None:
    assert limits.fma_peak(2) > 1e9
    assert limits.read_bandwidth(1, 1 << 20) > 1e8


def test_commit_is_none_outside_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "__file__", str(tmp_path / "machine.py"))
    assert machine.commit() == {"commit": None, "modified": None}
