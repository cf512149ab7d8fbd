"""From a network to a larger one that computes the same: more characters, more values of conditions."""

from __future__ import annotations

import numpy as np

from fastlstm.network.architecture import Architecture
from fastlstm.network.model import Network


def grown(network: Network, architecture: Architecture, first: int = 0) -> Network:
    """A network of `architecture` with the weights of `network`, which may have fewer characters and conditions.

    Sizes of layers are the same; dropout and dtype need not be. What is new comes behind what there was: the weights of new
    characters are the mean of those from number `first` on, those of a condition's new values the mean of its others, and a
    new condition's are zero.
    """
    larger, old = Network(architecture, threads=network.threads), network.architecture
    for name, view in larger.parameters.items():
        if name.startswith("given."):
            was = network.parameters[name] if old.conditions else view[:0]
            start = end = 0
            for place, count in enumerate(architecture.conditions):
                known = old.conditions[place] if place < len(old.conditions) else 0
                _fill(view[end : end + count], was[start : start + known], 1)
                start, end = start + known, end + count
            continue
        was = network.parameters[name]
        if name == "embedding" or name.startswith("head."):
            _fill(view, was, first)
        elif name == "lstm.0.W" and not old.embedding:
            view[:, : old.hidden] = was[:, : old.hidden]
            _fill(view[:, old.hidden :].T, was[:, old.hidden :].T, first)
        else:
            view[...] = was
    return larger


def _fill(view: np.ndarray, was: np.ndarray, first: int) -> None:
    """Rows that there were, and behind them the mean of those from number `first` on, or zero without any."""
    view[: len(was)] = was
    view[len(was) :] = was[first:].mean(0) if len(was) else 0
