"""Other values than a row's own, which a model learns to tell them from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastlstm.data.given import OPEN, Condition
from fastlstm.engine.layout import Contrast


def contrasted(
    given: np.ndarray, conditions: Sequence[Condition], weight: float, rng: np.random.Generator
) -> Contrast:
    """For rows with values `given` (N, columns) the same with another value in one column, drawn by how often it occurs.

    The column is any of those that are not open; where all are, the row's term has no weight. Its log-odds are such that
    together with log p(row | own) − log p(row | other) they are those of the own value, by Bayes' rule: where v is true and
    w is drawn with probability π(w) / (1 − π(v)), they are log (1 − π(w)) / (1 − π(v)).
    """
    others, terms = given.copy(), np.zeros((len(given), 2))
    chances = np.where(given == OPEN, -1.0, rng.random(given.shape))
    column = np.where(chances.max(1) < 0, -1, chances.argmax(1))
    for place, condition in enumerate(conditions):
        share = np.array(condition.counts) / sum(condition.counts)
        begins, rows = np.cumsum(share) - share, np.flatnonzero(column == place)
        own = given[rows, place] - 1
        # Places on a line from which the own value's piece is cut out.
        places = rng.random(len(rows)) * (1 - share[own])
        places += share[own] * (places >= begins[own])
        other = np.searchsorted(begins[1:], places, "right")
        there = (other != own) & (share[other] > 0)
        rows, own, other = rows[there], own[there], other[there]
        others[rows, place] = other + 1
        terms[rows, 0], terms[rows, 1] = weight, np.log((1 - share[other]) / (1 - share[own]))
    return Contrast(others, terms)
