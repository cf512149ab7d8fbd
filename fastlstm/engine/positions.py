"""The real elements of a padded batch, found to be sound: the engine trusts what it gets."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastlstm.engine.kernels.batch import compact
from fastlstm.engine.layout import Plan, full_plan, plan_of
from fastlstm.errors import FastLSTMError


def real_positions(V: int, lengths: Any, *arrays: Any) -> tuple[Plan, list[np.ndarray]]:
    """The plan of a batch of ids (T, B), perhaps with targets, and each array's real elements (N,), step by step.

    Ids lie in 0..V − 1; lengths (B,), in 1..T and not increasing, may be None where all rows are full. Raises
    FastLSTMError for shapes, dtypes, lengths or ids that don't fit.
    """
    whole = [np.asarray(array) for array in arrays]
    shape = whole[0].shape
    if len(shape) != 2 or 0 in shape:
        raise FastLSTMError(f"ids have shape {shape}; they must be (T, B) with at least one step and one row")
    for name, array in zip(("ids", "targets"), whole, strict=False):
        if array.shape != shape:
            raise FastLSTMError(f"{name} have shape {array.shape}; ids have {shape}")
        if array.dtype.kind not in "iu":
            raise FastLSTMError(f"{name} are {array.dtype}; they must be integers")
    short = [_narrowed(array) for array in whole]
    if lengths is None:
        plan = full_plan(*shape)
        real = [array.reshape(-1) for array in short]
        # A negative id is a huge one without its sign.
        fits = all(array.view(np.uint32).max() < V for array in real)
    else:
        lengths = checked_lengths(lengths, shape)
        start = np.empty(shape[0] + 1, np.int32)
        real = [np.empty(array.size, np.int32) for array in short]
        fits = compact(short[0], short[-1], lengths, V, start, real[0], real[-1])
        plan = plan_of(start, shape[1]) if fits else full_plan(*shape)
    if not fits:
        raise _misfit(whole, lengths, V)
    return plan, real


def checked_lengths(lengths: Any, shape: tuple[int, int]) -> np.ndarray:
    """Lengths, one for each row, as an array of int64."""
    array = np.asarray(lengths)
    if array.shape != shape[1:] or array.dtype.kind not in "iu":
        raise FastLSTMError(
            f"lengths are {array.dtype} {array.shape}; they must be {shape[1]} integers, one for each row"
        )
    return np.ascontiguousarray(array, np.int64)


def _narrowed(ids: np.ndarray) -> np.ndarray:
    """As contiguous int32, −1 for what is larger than that."""
    short = np.ascontiguousarray(ids, np.int32)
    return short if ids.itemsize <= 4 else np.where(short == ids, short, np.int32(-1))


def _misfit(arrays: list[np.ndarray], lengths: np.ndarray | None, V: int) -> FastLSTMError:
    """What is wrong with lengths, ids or targets that don't fit."""
    T, real = len(arrays[0]), np.ones(arrays[0].shape, bool)
    if lengths is not None:
        if lengths.min() < 1 or lengths.max() > T:
            return FastLSTMError(f"lengths lie in {lengths.min()}..{lengths.max()}; they must lie in 1..{T}")
        if (lengths[1:] > lengths[:-1]).any():
            return FastLSTMError(
                "lengths must not increase from row to row: sort the batch by length, longest first"
            )
        real = np.arange(T)[:, None] < lengths
    name, found = next(
        (name, array[real])
        for name, array in zip(("ids", "targets"), arrays, strict=False)
        if array[real].min() < 0 or array[real].max() >= V
    )
    bad = int(found.min() if found.min() < 0 else found.max())
    return FastLSTMError(f"{name} contain {bad}; with {V} characters they must lie in 0..{V - 1}")
