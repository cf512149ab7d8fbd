"""What may reach the engine, and the word about what may not.

The engine reads and writes memory and knows nothing else of a tensor: no subclass, no graph that is being recorded,
no batch hidden by a transform. What it cannot take goes to PyTorch's own LSTM.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch._C._dynamo.eval_frame import (  # pyright: ignore[reportMissingModuleSource]
    get_eval_frame_callback,
)
from torch.autograd import forward_ad

from fastlstm.errors import FastLSTMError

DTYPES = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}


class Options(NamedTuple):
    """What `accelerate` is told."""

    fallback: bool = True
    threads: int | None = None
    frozen: bool = False


def recording() -> str:
    """What PyTorch does with operations besides running them; empty if nothing."""
    if torch._C._len_torch_dispatch_stack():
        return "operations are intercepted (FakeTensorMode, make_fx, …)"
    if torch._C._are_functorch_transforms_active():
        return "a transform of torch.func is at work"
    if forward_ad._current_level >= 0:
        return "forward-mode differentiation"
    return "torch.jit.trace" if torch._C._get_tracing_state() is not None else ""


def foreign(tensors: Sequence[Any], autocast: bool = False) -> str:
    """What one of the tensors is that plain memory of the first one's dtype on the CPU is not; empty if all are that.

    Under `autocast` bfloat16 is as good as float32.
    """
    dtype = None
    try:
        for tensor in tensors:
            kind = type(tensor)
            if kind is not Tensor and kind is not nn.Parameter:
                return f"a {kind.__name__} where a plain tensor is expected"
            own = tensor.dtype
            if autocast and own is torch.bfloat16:
                own = torch.float32
            if own is not dtype:
                if dtype is not None:
                    return f"{own} beside {dtype}"
                dtype = own
                if dtype not in DTYPES:
                    return f"{dtype}, where the engine computes in float32 or float64"
            if not tensor.is_cpu:
                return f"a tensor on {tensor.device.type}"
            if tensor.layout is not torch.strided:
                return f"a tensor of layout {tensor.layout}"
            if tensor.data_ptr() == 0 and tensor.numel():
                return "a tensor without memory"
    except RuntimeError:
        return "a tensor without memory"
    return ""


def uncompiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, but hidden from `torch.compile`, which breaks its graph at an LSTM and then looks into what that calls."""
    hidden: Callable[..., Any] | None = None

    @wraps(function)
    def call(*arguments: Any) -> Any:
        nonlocal hidden
        # Nothing looks on most of the time, and to hide takes its time.
        if get_eval_frame_callback() is None:
            return function(*arguments)
        if hidden is None:
            hidden = torch.compiler.disable(function)
        return hidden(*arguments)

    return call


_told: set[str] = set()


def leave(reason: str, options: Options) -> None:
    """Say, once a process, why a computation was PyTorch's own; FastLSTMError without `fallback`."""
    text = f"fastlstm left an LSTM to torch.nn.LSTM: {reason}"
    if not options.fallback:
        raise FastLSTMError(f"{text} (allow it with fallback=True)")
    if reason not in _told:
        _told.add(reason)
        frame, level = sys._getframe(), 1
        while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in ("fastlstm", "torch"):
            frame, level = frame.f_back, level + 1
        warnings.warn(text, stacklevel=level)
