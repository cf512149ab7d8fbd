"""Threads: the same bytes for any number of them, from several callers at once, after a fork and after Ctrl-C."""

from __future__ import annotations

import _thread
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from networks import Sample, randomize

from fastlstm.engine import workers
from fastlstm.engine.kernels import tickets
from fastlstm.engine.kernels.compile import kernel
from fastlstm.errors import FastLSTMError
from fastlstm.network.architecture import Architecture
from fastlstm.network.lstm import lstm_backward, lstm_forward, pack
from fastlstm.network.model import Network
from fastlstm.network.optim import Optimizer, OptimizerConfig

BIG = 1e12  # of work: always enough for helpers


@kernel
def come_in(board):
    return tickets.enter(board)


@kernel
def go_out(board, patience):
    tickets.leave(board, patience)


def program_of(body: Callable[[np.ndarray], Any]) -> Callable[[np.ndarray, int], None]:
    """A program as the compiled ones are, with a body in Python."""

    def program(board: np.ndarray, patience: int) -> None:
        try:
            if come_in(board):
                body(board)
        finally:
            go_out(board, patience)

    return program


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[workers.Pool]:
    """A pool of the test's own that helps with the smallest work; none of its helpers may be busy at the end."""
    own = workers.Pool()
    monkeypatch.setattr(workers, "_pool", own)
    monkeypatch.setattr(workers, "SMALL_WORK", 0.0)
    yield own
    assert not own.turn
    assert all(
        helper.is_alive() and within(10, lambda helper=helper: fall_asleep(helper)) for helper in own.helpers
    )


def fall_asleep(helper: workers.Helper) -> bool:
    """Wait until a helper has nothing to do."""
    while not helper.asleep:
        time.sleep(0.001)
    return True


def within(seconds: float, call: Callable[[], Any]) -> Any:
    """The result of call() on another thread, or a failure if it hangs."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(call()), daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), f"no end after {seconds} s"
    return results[0] if results else None


# The same bytes

SHAPES = {
    # Ragged groups of rows, every phase of the program, an optimiser with everything on.
    "rows": (Architecture(40, 37, 19, 2, 0.3, 0.2, learned_state=True), 9, 31, True, "float32"),
    "rows in bf16": (Architecture(40, 37, 19, 2, 0.3, 0.2, learned_state=True), 9, 31, True, "bf16"),
    # Few rows and many units: the units are dealt.
    "units": (Architecture(9, 256, 0, 1), 3, 2, False, "float32"),
    "units in bf16": (Architecture(9, 256, 0, 1), 3, 5, False, "bf16"),
    "units of one row": (Architecture(9, 261, 0, 1, learned_state=True), 4, 1, False, "float32"),
    "units of one row in bf16": (Architecture(9, 261, 0, 1, learned_state=True), 4, 1, False, "bf16"),
    "tied": (Architecture(70, 24, 24, 1, tied=True), 5, 20, True, "float32"),
    "float64": (Architecture(40, 70, 19, 1, dtype="float64"), 4, 20, False, "float64"),
}
CONFIG = OptimizerConfig("adamw", weight_decay=0.01, clip_value=0.1, clip_norm=0.5)


def trained(
    architecture: Architecture,
    T: int,
    B: int,
    ragged: bool,
    precision: str,
    threads: int,
    steps: int,
    seed: int = 0,
) -> np.ndarray:
    """Every number that training leaves: parameters, moments, losses, norms and states."""
    rng = np.random.default_rng(seed)
    network = randomize(Network(architecture, threads=threads, precision=precision), rng)
    optimizer = Optimizer(network.parameters, CONFIG)
    numbers = []
    for step in range(steps):
        sample = Sample(rng, T, B, architecture.vocabulary, ragged)
        metrics, state = network.step(
            sample.ids, sample.targets, optimizer, 0.01, sample.lengths, dropout_key=step
        )
        numbers.append([metrics.loss, metrics.norm, metrics.correct])
    parts = [network.parameters.flat, *(moment.flat for moment in optimizer.moments.values())]
    return np.concatenate([*parts, state.h.ravel(), state.c.ravel(), np.ravel(numbers)])


@pytest.mark.parametrize("shape", SHAPES)
def test_any_number_of_threads_leaves_the_same_bytes(shape: str, pool: workers.Pool) -> None:
    alone = trained(*SHAPES[shape], threads=1, steps=50)
    assert np.isfinite(alone).all()
    assert not pool.helpers
    for threads in (2, 3, 8):
        assert np.array_equal(trained(*SHAPES[shape], threads=threads, steps=50), alone), threads
    assert len(pool.helpers) == 7


@pytest.mark.parametrize(("T", "B", "H"), [(7, 30, 33), (4, 2, 300)])
@pytest.mark.parametrize("ids", [False, True])
def test_the_array_api_on_any_number_of_threads(
    T: int, B: int, H: int, ids: bool, pool: workers.Pool
) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 6, (T, B)) if ids else rng.normal(size=(T, B, 6)).astype(np.float32)
    W = (rng.normal(size=(4 * H, H + 6)) / H**0.5).astype(np.float32)
    dout = rng.normal(size=(T, B, H)).astype(np.float32)
    results = []
    for threads in (1, 2, 3, 8):
        out, states, cache = lstm_forward(x, W, threads=threads)
        gradients = lstm_backward(dout, cache, threads=threads)
        results.append(b"".join(array.tobytes() for array in (out, *states, *gradients) if array is not None))
    assert len(set(results)) == 1


@pytest.mark.parametrize("shape", SHAPES)
def test_a_worker_may_come_when_all_is_done(
    shape: str, pool: workers.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finds no ticket or a closed board, waits for nobody and touches nothing."""
    alone = trained(*SHAPES[shape], threads=1, steps=3)

    def run(program: Callable[..., None], arguments: tuple[Any, ...], workers_: int, crew: None) -> None:
        board = workers.new_board()
        for _ in range(3):
            program(*arguments, board, 0)
        workers.close(board)
        program(*arguments, board, 0)

    monkeypatch.setattr(pool, "run", run)
    assert np.array_equal(trained(*SHAPES[shape], threads=3, steps=3), alone)


def test_four_callers_at_once_each_get_their_own(pool: workers.Pool) -> None:
    cases = [("rows", 1), ("tied", 2), ("rows", 3), ("units", 4)]
    alone = [trained(*SHAPES[shape], threads=1, steps=15, seed=seed) for shape, seed in cases]
    together: list[Any] = [None] * len(cases)

    def train(n: int) -> None:
        shape, seed = cases[n]
        together[n] = trained(*SHAPES[shape], threads=2, steps=15, seed=seed)

    callers = [threading.Thread(target=train, args=(n,), daemon=True) for n in range(len(cases))]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(120)
    for one, expected in zip(together, alone, strict=True):
        assert np.array_equal(one, expected)


@pytest.mark.parametrize("shared", ["cache", "packed weights"])
def test_what_several_callers_share(shared: str, pool: workers.Pool) -> None:
    rng = np.random.default_rng(0)
    x, W = rng.normal(size=(5, 9, 6)).astype(np.float32), rng.normal(size=(68, 23)).astype(np.float32)
    _, _, cache = lstm_forward(x, W)
    frozen = pack(W)

    def run(scale: int) -> bytes:
        if shared == "cache":
            return lstm_backward(np.full((5, 9, 17), scale, np.float32), cache, threads=2).W.tobytes()
        return lstm_forward(scale * x, frozen, keep_cache=False, threads=2)[0].tobytes()

    alone = [run(scale) for scale in range(4)]
    together: list[list[bytes]] = [[] for _ in range(4)]

    def repeat(scale: int) -> None:
        for _ in range(60):
            together[scale].append(run(scale))

    callers = [threading.Thread(target=repeat, args=(scale,), daemon=True) for scale in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    for results, expected in zip(together, alone, strict=True):
        assert len(results) == 60
        assert set(results) == {expected}


# The pool


def test_all_threads_run_the_program_and_end_before_the_call(pool: workers.Pool) -> None:
    met = threading.Barrier(4)
    ended: list[threading.Thread] = []

    @program_of
    def program(board: np.ndarray) -> None:
        met.wait(10)
        time.sleep(0.01)
        ended.append(threading.current_thread())

    workers.run(program, threads=4, work=BIG)
    assert len(set(ended)) == 4
    assert threading.current_thread() in ended


def test_a_helper_that_listens_needs_no_waking(pool: workers.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is patient a helper comes when the bell rings; then it sleeps, and is woken for the next program."""
    monkeypatch.setattr(workers, "PATIENCE", 10**8)
    met = threading.Barrier(2)
    program = program_of(lambda board: met.wait(10))
    workers.run(program, threads=2, work=BIG)
    (helper,) = pool.helpers
    for _ in range(50):
        assert not helper.asleep
        workers.run(program, threads=2, work=BIG)
    monkeypatch.setattr(workers, "PATIENCE", 0)
    for _ in range(5):
        workers.run(program, threads=2, work=BIG)
        assert within(10, lambda: fall_asleep(helper))


def test_small_work_stays_with_its_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = workers.Pool()
    monkeypatch.setattr(workers, "_pool", pool)
    ran: list[threading.Thread] = []
    workers.run(
        program_of(lambda board: ran.append(threading.current_thread())),
        threads=4,
        work=workers.SMALL_WORK / 2,
    )
    assert ran == [threading.current_thread()]
    assert not pool.helpers


def test_a_second_caller_works_alone(pool: workers.Pool) -> None:
    ran: list[threading.Thread] = []

    @program_of
    def inner(board: np.ndarray) -> None:
        ran.append(threading.current_thread())

    @program_of
    def outer(board: np.ndarray) -> None:
        if threading.current_thread() is threading.main_thread():
            workers.run(inner, threads=3, work=BIG)

    workers.run(outer, threads=3, work=BIG)
    assert ran == [threading.main_thread()]


def test_a_job_that_no_helper_began_is_taken_back(pool: workers.Pool) -> None:
    """Thousands of programs that end before a helper wakes; each thread runs each program at most once."""

    def train() -> int:
        longest = 0
        for _ in range(2000):
            ran: list[threading.Thread] = []
            workers.run(
                program_of(lambda board, ran=ran: ran.append(threading.current_thread())), threads=4, work=BIG
            )
            assert threading.current_thread() in ran
            assert len(ran) == len(set(ran))
            longest = max(longest, len(ran))
        return longest

    assert 1 <= within(60, train) <= 4


def test_no_more_threads_to_be_had(pool: workers.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    ran: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(workers.Helper, "start", refuse)
        workers.run(program_of(lambda board: ran.append(1)), threads=3, work=BIG)
    assert ran == [1]
    test_all_threads_run_the_program_and_end_before_the_call(pool)


def test_an_error_of_the_program_reaches_the_caller_after_all_have_ended(pool: workers.Pool) -> None:
    begun, ended = threading.Event(), []

    @program_of
    def program(board: np.ndarray) -> None:
        if threading.current_thread() is threading.main_thread():
            begun.wait(10)
            raise ZeroDivisionError
        begun.set()
        time.sleep(0.05)
        ended.append(1)

    with pytest.raises(ZeroDivisionError):
        workers.run(program, threads=2, work=BIG)
    assert ended == [1]


# Ctrl-C


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("method", ["give", "close"])
def test_interrupted_between_any_two_lines(
    method: str, before: bool, pool: workers.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interruption beside every hand-over neither hangs nor leaves a helper at work."""
    place = workers.Helper if method == "give" else workers
    original, calls, active = getattr(place, method), [0], [0]
    when = 2 if method == "give" else 1

    def interrupted(*arguments: Any) -> None:
        calls[0] += 1
        if before and calls[0] == when:
            raise KeyboardInterrupt
        original(*arguments)
        if not before and calls[0] == when:
            raise KeyboardInterrupt

    @program_of
    def program(board: np.ndarray) -> None:
        active[0] += 1
        time.sleep(0.01)
        active[0] -= 1

    def run() -> int:
        with pytest.raises(KeyboardInterrupt):
            workers.run(program, threads=4, work=BIG)
        return active[0]

    with monkeypatch.context() as patch:
        patch.setattr(place, method, interrupted)
        assert within(20, run) == 0
    test_all_threads_run_the_program_and_end_before_the_call(pool)


def test_a_second_interruption_still_waits_for_the_helpers(pool: workers.Pool) -> None:
    begun, ended = threading.Event(), []

    @program_of
    def program(board: np.ndarray) -> None:
        if threading.current_thread() is threading.main_thread():
            begun.wait(10)
            raise KeyboardInterrupt
        begun.set()
        for _ in range(3):
            time.sleep(0.02)
            _thread.interrupt_main()
        time.sleep(0.02)
        ended.append(1)

    with pytest.raises(KeyboardInterrupt):
        workers.run(program, threads=2, work=BIG)
    assert ended == [1]


def test_training_goes_on_after_interruptions_at_any_moment(pool: workers.Pool) -> None:
    architecture, T, B, ragged, _ = SHAPES["rows"]
    network = randomize(Network(architecture, threads=3), np.random.default_rng(0))
    optimizer, sample = (
        Optimizer(network.parameters, CONFIG),
        Sample(np.random.default_rng(0), T, B, 40, ragged),
    )
    # What is imported at the first step would be interrupted with a file open.
    network.step(sample.ids, sample.targets, optimizer, 0.01, sample.lengths)
    for n in range(25):
        timer = threading.Timer(0.0007 * n, signal.raise_signal, (signal.SIGINT,))
        end = time.monotonic() + 30
        try:
            timer.start()
            while time.monotonic() < end:
                network.step(sample.ids, sample.targets, optimizer, 0.01, sample.lengths)
            pytest.fail("the interruption was lost")
        except KeyboardInterrupt:
            timer.join(10)
        assert not pool.turn
    assert np.isfinite(network.parameters.flat).all()
    alone = trained(*SHAPES["rows"], threads=1, steps=5)
    assert np.array_equal(trained(*SHAPES["rows"], threads=3, steps=5), alone)


# Fork


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_trains_with_helpers_of_its_own(pool: workers.Pool) -> None:
    expected = trained(*SHAPES["rows"], threads=3, steps=5)
    # The child finds the parent's pool in use.
    pool.turn["whose"] = None
    child = os.fork()
    if not child:
        try:
            same = np.array_equal(trained(*SHAPES["rows"], threads=3, steps=5), expected)
            os._exit(0 if same and len(workers._pool.helpers) == 2 else 1)
        finally:
            os._exit(2)
    pool.turn.clear()
    for _ in range(600):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        time.sleep(0.1)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        pytest.fail("the child hangs")
    assert os.waitstatus_to_exitcode(status) == 0


# How many


@pytest.mark.parametrize("bad", [0, -1, 2.5, "two", "", None])
def test_numbers_of_threads_that_are_none(bad: Any) -> None:
    with pytest.raises(
        FastLSTMError, match=re.escape(f"threads is {bad!r}; it must be a whole number from 1 to 1,024")
    ):
        workers.checked(bad, "threads")


def test_where_the_number_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_available", None)
    monkeypatch.setattr(workers, "available_cores", lambda: 5)
    monkeypatch.delenv("FASTLSTM_NUM_THREADS", raising=False)
    assert workers.thread_count() == 5
    monkeypatch.setenv("FASTLSTM_NUM_THREADS", "")
    assert workers.thread_count() == 5
    monkeypatch.setenv("FASTLSTM_NUM_THREADS", "3")
    assert workers.thread_count() == 3
    assert workers.thread_count(2) == workers.thread_count(np.int64(2)) == 2
    monkeypatch.setenv("FASTLSTM_NUM_THREADS", "all")
    message = "FASTLSTM_NUM_THREADS is 'all'; it must be a whole number from 1 to 1,024"
    with pytest.raises(FastLSTMError, match=re.escape(message)):
        workers.thread_count()


def test_a_wrong_number_is_refused_for_the_smallest_work(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(Architecture(5, 4, 3), threads=0)
    ids = np.zeros((2, 1), int)
    with pytest.raises(FastLSTMError, match="threads is 0"):
        network.forward(ids)
    monkeypatch.setenv("FASTLSTM_NUM_THREADS", "0.5")
    with pytest.raises(FastLSTMError, match=re.escape("FASTLSTM_NUM_THREADS is '0.5'")):
        Network(Architecture(5, 4, 3)).forward(ids)


# Denormals


def denormal() -> float:
    return float((np.array([1e-30], np.float32) * np.array([1e-10], np.float32))[0])


def test_denormals_are_flushed_in_kernels_and_nowhere_else(pool: workers.Pool) -> None:
    assert denormal() > 0
    network = Network(Architecture(5, 4, 3), threads=2)
    optimizer = Optimizer(network.parameters, OptimizerConfig("sgd", momentum=0.9))
    network.gradients.flat[:] = 1e-40
    optimizer.update(network.gradients, 0.1, threads=2)
    assert not optimizer.moments["m"].flat.any()
    assert denormal() > 0
    sample = Sample(np.random.default_rng(0), 3, 30, 5)
    network.step(sample.ids, sample.targets, optimizer, 0.1)
    x = np.zeros((3, 2, 4), np.float32)
    out, _, cache = lstm_forward(x, np.zeros((20, 9), np.float32), threads=2)
    lstm_backward(out, cache, threads=2)
    assert denormal() > 0
