"""What a call of a layer is made of, if the engine can do it."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from fastlstm.engine.layout import Plan, full_plan, packed_plan
from fastlstm.interop.gate import foreign, recording

States = tuple[Tensor, Tensor]
MISFIT = "sizes that do not fit"


class Batch(NamedTuple):
    """A call that the engine can do: x, states (L·D, B, H) and all weights.

    x is (T, B, I), (B, T, I) or, packed or of a single sequence, (N, I).

    The weights are four for each layer and direction, of which the biases may be None. Under autocast, `cast` is the dtype
    of the results: products multiply in bfloat16, and all tensors are that or float32.
    """

    x: Tensor
    states: States | None
    weights: list[Any]
    plan: Plan
    cast: torch.dtype | None


def batch_of(layer: nn.LSTM, input: Any, hx: Any) -> Batch | str:
    """The call as the engine takes it, or the reason to leave it to PyTorch; empty where there is nothing to compute.

    What does not fit is a reason too: PyTorch raises its own errors.
    """
    packed = isinstance(input, PackedSequence)
    x = input.data if packed else input
    if reason := recording():
        return reason
    autocast = torch.is_autocast_enabled("cpu")
    if autocast and torch.get_autocast_dtype("cpu") is not torch.bfloat16:
        return f"autocast to {torch.get_autocast_dtype('cpu')}"
    if layer.proj_size:
        return "projections (proj_size)"
    if hx is not None and not (isinstance(hx, tuple | list) and len(hx) == 2):
        return "states that are not a pair"
    weights = weights_of(layer)
    if reason := foreign((x, *(hx or ()), *weights), autocast):
        return reason
    if x.numel() == 0:
        return ""
    if packed:
        sizes = input.batch_sizes.numpy()
        plan = packed_plan(sizes, int(sizes[0]))
        if x.dim() != 2 or plan.positions != len(x) or (sizes[1:] > sizes[:-1]).any():
            return MISFIT
        hx = hx and layer.permute_hidden(tuple(hx), input.sorted_indices)
    else:
        if x.dim() == 2:
            hx = hx and (hx[0].unsqueeze(1), hx[1].unsqueeze(1))
        elif x.dim() != 3:
            return MISFIT
        T, B = (len(x), 1) if x.dim() == 2 else x.shape[:2]
        plan = full_plan(B, T) if layer.batch_first and x.dim() == 3 else full_plan(T, B)
    D = 2 if layer.bidirectional else 1
    states = layer.num_layers * D, plan.rows, layer.hidden_size
    if x.shape[-1] != layer.input_size or (hx and not hx[0].shape == hx[1].shape == states):
        return MISFIT
    cast = _autocast_dtype(x, hx, packed) if autocast and x.dtype is not torch.float64 else None
    return Batch(x, None if hx is None else (hx[0], hx[1]), _fours(layer, weights, D), plan, cast)


def _autocast_dtype(x: Tensor, hx: Any, packed: bool) -> torch.dtype:
    """What `torch.nn.LSTM` gives under autocast: bfloat16 by oneDNN, else what that and its cell states promote to."""
    can = x.dtype is torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if can and not packed and torch.backends.mkldnn.is_available() and torch._C._get_mkldnn_enabled():
        return torch.bfloat16
    return x.dtype if hx is None else hx[1].dtype


def _fours(layer: nn.LSTM, weights: list[Any], D: int) -> list[Any]:
    """Four weights for each layer and direction; RuntimeError where one has not its shape."""
    H, of_each = layer.hidden_size, 4 if layer.bias else 2
    shapes = [(4 * H, layer.input_size), (4 * H, H), (4 * H,), (4 * H,)][:of_each]
    fours = []
    for n in range(0, len(weights), of_each):
        if n == D * of_each:
            shapes[0] = 4 * H, D * H
        four = weights[n : n + of_each]
        for weight, shape in zip(four, shapes, strict=True):
            if weight.shape != shape:  # PyTorch may compute with what lies beyond it
                raise RuntimeError(f"a weight is {tuple(weight.shape)} where the sizes ask for {shape}")
        fours += four if layer.bias else (*four, None, None)
    return fours


def weights_of(layer: nn.LSTM) -> list[Any]:
    """The weights as `torch.nn.LSTM` takes them, computed anew where they are not parameters (parametrised)."""
    own = layer._parameters
    for name, weight in zip(layer._flat_weights_names, layer._flat_weights, strict=True):
        if own.get(name) is not weight:
            layer._update_flat_weights()
            break
    return layer._flat_weights
