"""Drawing sequences from a network: the uniform numbers, the choice of a character, and whole batches.

Most names begin like many others, and what two sequences have in common so far gives the same states. So the first
characters are drawn for all sequences at once, and only beginnings that differ are run; when they have become
many, each sequence goes its own way. It changes nothing in what is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fastlstm.engine import workers
from fastlstm.engine.kernels import choose as choosing
from fastlstm.engine.kernels.generate import (
    ENDED,
    FAILED,
    SLOTS,
    Job,
    choose_program,
    extend_program,
    generate_program,
)
from fastlstm.engine.kernels.tickets import new_board
from fastlstm.errors import FastLSTMError
from fastlstm.generation.stream import Rows, StreamState

# While on average so many sequences begin alike, they are run as one.
ALIKE = 4

NOT_FINITE = "the model's outputs are not finite: its training diverged, so train it again"


class Rules(NamedTuple):
    """What `draw` obeys: the numbers of `choose`, and where sequences end."""

    temperature: float
    top_k: int
    top_p: float
    end: int  # the end mark's id, -1 for text
    stop: np.ndarray  # (S,) ids; S = 0: none
    shortest: np.ndarray  # (P,) for each prefix, the characters to draw before the end mark may come
    longest: np.ndarray  # (P,) and the most that are drawn


def stream_keys(seed: int, sequences: np.ndarray) -> np.ndarray:
    """The keys (B,) of the streams of uniform numbers behind the sequences numbered (B,)."""
    keys = np.empty(len(sequences), np.uint64)
    choosing.stream_keys(np.uint64(seed), sequences.astype(np.uint64), keys)
    return keys


def uniforms(keys: np.ndarray, positions: int) -> np.ndarray:
    """The first uniform numbers (positions, B) of the streams with keys (B,), as float64 in [0, 1)."""
    numbers = np.empty((positions, len(keys)))
    choosing.uniforms(keys, numbers)
    return numbers


def pick(logits: np.ndarray, keys: np.ndarray, position: int, short: np.ndarray, rules: Rules) -> np.ndarray:
    """One id (B,) for each row of logits (B, V), the end mark being ruled out where `short` (B,)."""
    B, V = logits.shape
    chosen = np.empty(B, np.int64)
    banned = np.where(short, rules.end, -1)
    settings = (rules.temperature, rules.top_k, rules.top_p)
    scratch, heap = np.empty((2, V)), np.empty(V, np.int32)
    choosing.choose_rows(logits, keys, position, banned, *settings, scratch, heap, chosen)
    if (chosen == choosing.NOTHING).any():
        raise FastLSTMError(NOT_FINITE)
    return chosen


def draw(
    state: StreamState, origins: np.ndarray, keys: np.ndarray, rules: Rules, threads: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw N sequences side by side.

    `state` has read each of P prefixes; origins (N,) says which of them a sequence continues, keys (N,) which
    stream of uniforms it draws from. Returns ids (N, longest), padded with 0, and lengths (N,), which count a
    stop text but no end mark.
    """
    N, frozen = len(origins), state.frozen
    ids, lengths = np.zeros((N, rules.longest.max()), np.int32), np.zeros(N, np.int64)
    own = rules._replace(shortest=rules.shortest[origins], longest=rules.longest[origins])
    job = Job(ids, lengths, origins.copy(), keys, **own._asdict())
    work = 2.0 * frozen.parameters.flat.size * N * min(8, ids.shape[1])
    count = 1 if work < workers.SMALL_WORK else min(workers.thread_count(threads), N)
    slots = min(SLOTS, -(-N // count))
    rows = [Rows(frozen, min(SLOTS, N)) for _ in range(count)]
    alive = np.arange(N)
    while len(alive) >= ALIKE * state.batch:
        state, alive = share(state, job, alive, rows)
    fed, sequences = np.zeros((2, count, slots), np.int64)
    records = np.concatenate([each.record for each in rows])
    workers.run(generate_program, frozen.records, frozen.head, state.rows.record, records, job, fed, sequences,
                frozen.like, new_board(), threads=count, work=work)  # fmt: skip
    if (lengths == FAILED).any():
        raise FastLSTMError(NOT_FINITE)
    return ids, lengths


def share(
    state: StreamState, job: Job, alive: np.ndarray, rows: Sequence[Rows]
) -> tuple[StreamState, np.ndarray]:
    """Draw one character of each sequence in `alive`; those that are alike so far go on from one row.

    Returns the state that they go on from, a row for each beginning that was drawn, and who is still alive.
    """
    frozen, threads, many = state.frozen, len(rows), float("inf")
    V = frozen.architecture.vocabulary
    records = np.concatenate([each.record for each in rows])
    chosen = np.empty(len(alive), np.int64)
    workers.run(choose_program, frozen.head, state.rows.record, records, job, alive, chosen, frozen.like, new_board(),
                threads=threads, work=many)  # fmt: skip
    ended = chosen == ENDED
    job.origins[alive[ended]] = ENDED
    alive = alive[~ended]
    if not len(alive):
        return state, alive
    beginnings, own = np.unique(job.origins[alive] * V + chosen[~ended], return_inverse=True)
    job.origins[alive] = own
    further = StreamState(frozen, state.given[beginnings // V])
    for field in ("h", "c", "apart", "logits"):
        records[field] = further.rows.record[field]
    workers.run(extend_program, frozen.records, frozen.head, state.rows.record, records, beginnings // V,
                (beginnings % V)[None], frozen.like, new_board(), threads=threads, work=many)  # fmt: skip
    return further, alive
