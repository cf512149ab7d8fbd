"""A generator as a classifier: how probable each value of a condition is for a name, by Bayes' rule.

P(value | name) is in proportion to P(name | value), which the model says with its other conditions open, times the
value's share of the training data.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastlstm.data.given import Condition, conditions_of, place_of
from fastlstm.data.names import Names
from fastlstm.errors import FastLSTMError, counted, printable, quoted
from fastlstm.generation.scoring import score


class Assessment(NamedTuple):
    """How well values are told from names, over all rows or by their weights."""

    values: tuple[str, ...]
    accuracy: float
    log_loss: float  # nats a name
    confusion: np.ndarray  # (values, values) float64: row, the true value; column, the most probable one
    unknown: int  # rows without a value, which are left out


def condition_called(model: Any, title: str) -> Condition:
    """The model's condition of this title; FastLSTMError saying which there are."""
    conditions = conditions_of(model)
    return conditions[place_of([condition.title for condition in conditions], title)]


def log_posterior(model: Any, names: Sequence[str], title: str, prepared: bool = False) -> np.ndarray:
    """log P(value | name), float64 (N, values), in the order of the condition's values."""
    condition = condition_called(model, title)
    joint = np.empty((len(names), len(condition.values)))
    for v, (value, count) in enumerate(zip(condition.values, condition.counts, strict=True)):
        scores = score(model, names, prepared, given={condition.title: value})
        joint[:, v] = [s.logprob for s in scores]
        joint[:, v] += math.log(count) if count else -math.inf
    return joint - np.logaddexp.reduce(joint, axis=1, keepdims=True)


def classify(model: Any, names: Sequence[str], title: str) -> np.ndarray:
    """P(value | name), float64 (N, values). Raises FastLSTMError for a condition that the model does not have."""
    return np.exp(log_posterior(model, names, title))


def assess(model: Any, names: Names, title: str) -> Assessment:
    """How well the model tells a condition's values from names whose values are known.

    Rows whose value is blank, where the model has met no blanks, are left out. Raises FastLSTMError where the names' values
    are not given or are none of the model's.
    """
    conditions = conditions_of(model)
    place = place_of([condition.title for condition in conditions], title)
    condition = conditions[place]
    own = names.given.conditions if names.given else ()
    if names.given is None or condition.title.casefold() not in (c.title.casefold() for c in own):
        raise FastLSTMError(
            f"{names.source}: the names come without {quoted(condition.title)}, which they are judged by"
        )
    true = names.given.under(conditions)[:, place] - 1
    known = true >= 0
    weights = (np.ones(len(true)) if names.weights is None else names.weights)[known]
    if not weights.any():
        raise FastLSTMError(f"{names.source}: {quoted(condition.title)} is blank in every row that counts")
    true = true[known]
    posterior = log_posterior(model, names.distinct, title, prepared=True)[names.rows[known]]
    guessed, confusion = posterior.argmax(1), np.zeros((len(condition.values), len(condition.values)))
    np.add.at(confusion, (true, guessed), weights)
    losses = -posterior[np.arange(len(true)), true]
    return Assessment(
        condition.values,
        float(np.trace(confusion) / confusion.sum()),
        float((losses * weights).sum() / weights.sum()),
        confusion,
        int((~known).sum()),
    )


def table(found: Assessment) -> str:
    """The accuracy, the loss, and the confusion table in lines; rows are the true values."""
    values = [printable(value, 40) for value in found.values]
    width = max(8, *map(len, values), *(len(f"{count:,.0f}") for count in found.confusion.flat))
    lines = [f"accuracy {found.accuracy:.1%}, log-loss {found.log_loss:.4f} nats a name"]
    lines += [f"{counted(found.unknown, 'row')} without a value left out"] if found.unknown else []
    lines += [""]
    lines.append(" " * (width + 2) + "  ".join(f"{value:>{width}}" for value in values))
    for value, row in zip(values, found.confusion, strict=True):
        lines.append(f"{value:>{width}}  " + "  ".join(f"{count:>{width},.0f}" for count in row))
    return "\n".join(lines)


def picture(found: Assessment, path: str | os.PathLike[str]) -> None:
    """Draw the confusion table, each row as shares of its true value; needs matplotlib."""
    from fastlstm.training import plots

    shares = found.confusion / np.maximum(found.confusion.sum(1, keepdims=True), 1e-300)
    size, places = 2.5 + 0.45 * len(found.values), range(len(found.values))
    with plots.picture(path, 1, size + 0.8, size) as (axes,):
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(places, found.values, rotation=45 if len(places) > 4 else 0)
        axes.set_yticks(places, found.values)
        axes.set(xlabel="most probable", ylabel="true")
        axes.set_title(f"accuracy {found.accuracy:.1%}", fontsize=10)
        if len(places) <= 12:
            for y in places:
                for x in places:
                    ink = "white" if shares[y, x] > 0.6 else "black"
                    axes.text(x, y, f"{shares[y, x]:.0%}", ha="center", va="center", color=ink, fontsize=9)
        axes.figure.colorbar(image, shrink=0.8, label="share of the true value's names")
