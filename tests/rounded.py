"""The oracle with its products' operands rounded to bfloat16, everything else exact: what precision bf16 must compute."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from networks import Sample, masks

from fastlstm.network import reference
from fastlstm.network.architecture import State
from fastlstm.network.model import Network


def rounded(x: Any, scale: float = 1.0) -> np.ndarray:
    """x, of which x / scale becomes the nearest bfloat16, of two as near the even one; NaN stays NaN."""
    single = np.asarray(x / scale, np.float32)
    bits = single.view(np.uint32).astype(np.uint64)
    nearest = ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)
    return np.where(np.isnan(single), single, nearest).astype(np.float64) * scale


@contextmanager
def bfloat16_steps(count: int = 1) -> Iterator[pytest.MonkeyPatch]:
    """The oracle's steps round h and, being those of `count` times a mean, the gradients of the gates' arguments."""
    forward, backward = reference.step_forward, reference.step_backward

    def step_backward(dh: Any, dc: Any, of: reference.Step, W: Any, dW: Any, db: Any) -> Any:
        H, d_gates = len(dh), np.zeros(len(db))
        *_, dc = backward(dh, dc, of, W, np.zeros_like(dW), d_gates)
        d_gates = rounded(d_gates, count)
        dW += np.outer(d_gates, of.z)
        db += d_gates
        dz = W.T @ d_gates
        return dz[H:], dz[:H], dc

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "step_forward", lambda x, h, *rest: forward(x, rounded(h), *rest))
        patch.setattr(reference, "step_backward", step_backward)
        yield patch


def expect_rounded(
    network: Network, sample: Sample, state: State | None = None, dropout_key: int | None = None
) -> reference.Result:
    """`networks.expect` with rounded inputs, states, weights, outputs, and gradients of gates and logits.

    Gradients are those of the mean loss; the oracle divides by the number of targets only in the end. What goes through
    a table, the first layer's inputs and their weights, and the output layer's bias are in no large product.
    """
    a, exact = (
        network.architecture,
        {name: view.astype(np.float64) for name, view in network.parameters.items()},
    )
    count = sample.ids.size if sample.lengths is None else int(sample.lengths.sum())
    gathered = a.embedding and (a.vocabulary > count or (a.embedding_dropout and dropout_key is not None))
    loss, mask = reference.cross_entropy, reference.masked
    head_bias, places = np.zeros(a.vocabulary), itertools.cycle(range(2 * (a.layers + 1)))

    def masked(x: np.ndarray, own: Any) -> np.ndarray:
        """On the way forward these are operands: each layer's inputs, at last the output layer's."""
        place = next(places)
        return rounded(mask(x, own)) if place <= a.layers and (place or gathered) else mask(x, own)

    def cross_entropy(logits: np.ndarray, targets: np.ndarray) -> Any:
        value, gradient = loss(logits, targets)
        head_bias[...] += gradient.sum(0) / count
        return value, rounded(gradient, count)

    parameters = {name: rounded(view) if name.endswith(".W") else view for name, view in exact.items()}
    if not gathered:
        parameters["lstm.0.W"][:, a.hidden :] = exact["lstm.0.W"][:, a.hidden :]
    if a.tied:
        parameters["head.W"] = rounded(exact["embedding"])
    if gathered:
        parameters["embedding"] = rounded(exact["embedding"])
    with bfloat16_steps(count) as patch:
        patch.setattr(reference, "cross_entropy", cross_entropy)
        patch.setattr(reference, "masked", masked)
        own = masks(sample, a, dropout_key)
        result = reference.loss_and_gradients(
            parameters, sample.ids, sample.targets, sample.lengths, state, own
        )
    result.gradients["head.b"] = head_bias
    if a.tied:
        result.gradients["embedding"] += result.gradients.pop("head.W")
    return result
