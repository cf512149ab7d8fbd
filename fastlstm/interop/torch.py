"""`torch.nn.LSTM` over the compiled kernels: `accelerate` for models that hold one, and `LSTM` for new ones.

>>> import torch
>>> lstm = LSTM(5, 8, batch_first=True)
>>> out, (h_n, c_n) = lstm(torch.zeros(2, 3, 5))
>>> tuple(out.shape), tuple(h_n.shape), type(lstm) is torch.nn.LSTM
((2, 3, 8), (1, 2, 8), True)

An accelerated layer stays a `torch.nn.LSTM` with another `forward`, so whatever asks for the class, compiles it, converts it
or copies it finds what it knows. The parameters stay the module's own and are read at each call. PyTorch's gates come in
the engine's order i, f, g, o; its two weight matrices and two biases a layer are `W = [weight_hh | weight_ih]` and
`b = bias_ih + bias_hh`.

Letters: T time steps, B sequences, I inputs, H hidden size, L layers, D directions, N real steps if packed.
"""

from __future__ import annotations

import weakref
from functools import wraps
from typing import Any, NamedTuple

try:
    import torch
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ImportError("fastlstm.interop.torch needs PyTorch: pip install 'fastlstm[torch]'") from None

# TorchScript compiles the source of nn.LSTM's own forward and looks for its names here, `_VF` and PackedSequence.
from torch import _VF as _VF
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from fastlstm.engine.sequence import Frozen
from fastlstm.errors import FastLSTMError
from fastlstm.interop.autograd import Call, Layer, run
from fastlstm.interop.batch import Batch, States, batch_of, weights_of
from fastlstm.interop.frozen import Packed
from fastlstm.interop.gate import Options, foreign, leave, uncompiled
from fastlstm.interop.rows import repeated_rows, rows_of


def LSTM(
    *args: Any, fallback: bool = True, threads: int | None = None, frozen: bool = False, **kwargs: Any
) -> nn.LSTM:
    """A new `torch.nn.LSTM` of these arguments, accelerated: see `accelerate` for the other keywords."""
    layer = nn.LSTM(*args, **kwargs)
    _put(layer, Options(fallback, threads, frozen))
    return layer


class Forward:
    """What an accelerated layer has as its `forward`: the engine's where it can compute, else the class's own."""

    def __init__(self, layer: nn.LSTM, options: Options) -> None:
        # Weakly, so that a layer still goes with its last reference; copies and pickles bind the copy.
        self.layer, self.options, self.packed = weakref.ref(layer), options, Packed()

    def __getstate__(self) -> tuple[nn.LSTM | None, Options]:
        return self.layer(), self.options

    def __setstate__(self, state: tuple[nn.LSTM, Options]) -> None:
        self.__init__(*state)

    @wraps(nn.LSTM.forward)
    def forward(self, input: Any, hx: States | None = None) -> tuple[Any, States]:
        """Outputs and final states, as `torch.nn.LSTM` gives them, or its errors.

        `input` is (T, B, I), (B, T, I) if `batch_first`, (T, I) or a PackedSequence; `hx` two of (L·D, B, H).
        """
        layer = self.layer()
        if layer is None:
            raise FastLSTMError("an accelerated layer is gone, only its forward is left: keep the layer")
        if torch.compiler.is_compiling():
            return type(layer).forward(layer, input, hx)
        return self.compute(layer, input, hx)

    @uncompiled
    def compute(self, layer: nn.LSTM, input: Any, hx: States | None) -> tuple[Any, States]:
        """By the engine, or by PyTorch where there is a reason."""
        batch = batch_of(layer, input, hx)
        if isinstance(batch, str):
            result = type(layer).forward(layer, input, hx)
            if batch:
                leave(batch, self.options)
            return result
        out, final = _layers(layer, batch, self.options, self.packed)
        if isinstance(input, PackedSequence):
            return PackedSequence(out, *input[1:]), layer.permute_hidden(final, input.unsorted_indices)
        if input.dim() == 2:
            return out, (final[0].squeeze(1), final[1].squeeze(1))
        return out.transpose(0, 1) if layer.batch_first else out, final


def _layers(layer: nn.LSTM, batch: Batch, options: Options, packed: Packed) -> tuple[Tensor, States]:
    """Outputs (T, B, D·H), or (N, D·H) of a packed batch, and the final states (L·D, B, H)."""
    x, states, weights, plan, cast = batch
    D = 2 if layer.bidirectional else 1
    frozen: list[Frozen] = []
    if options.frozen and not layer.training and not torch.is_grad_enabled():
        frozen = packed.of(weights, bool(cast))
    if cast:
        x, weights = x.float(), [w if w is None else w.float() for w in weights]
        states = states and (states[0].float(), states[1].float())
    differentiated = torch.is_grad_enabled() and x.requires_grad
    rows = rows_of(x) if differentiated and not cast else None
    # In bfloat16 the engine has no gradient of inputs that it knows by ids.
    if rows is None and not (differentiated and cast):
        rows = repeated_rows(x)
    call = Call(plan, options, bool(cast), layer.batch_first and x.dim() == 3, rows)
    final = []
    for n in range(layer.num_layers):
        if n and layer.dropout:
            x = nn.functional.dropout(x, layer.dropout, layer.training)
        h0, c0 = states or (None, None)
        if h0 is not None and c0 is not None and layer.num_layers > 1:
            h0, c0 = h0[n * D : (n + 1) * D], c0[n * D : (n + 1) * D]
        arguments: Any = h0, c0, call, *weights[4 * D * n : 4 * D * (n + 1)]
        if torch.is_grad_enabled():
            x, h, c = Layer.apply(x, rows.weight if rows and rows.leaf else None, *arguments)
        else:
            # Without a graph the way through autograd, a good part of a short call, is spared.
            x, h, c, _ = run(x, *arguments, frozen=() if rows else frozen[D * n : D * (n + 1)])
        final.append((h, c))
        rows, call = None, Call(plan, options, bool(cast))
    h, c = final[0]
    if layer.num_layers > 1:
        h, c = torch.cat([h for h, _ in final]), torch.cat([c for _, c in final])
    return (x.to(cast), (h.to(cast), c.to(cast))) if cast else (x, (h, c))


class Acceleration(NamedTuple):
    """What `accelerate` did: the names of the accelerated layers, and of the others with the reason."""

    replaced: list[str]
    left: dict[str, str]

    def __str__(self) -> str:
        lines = [f"{name}: accelerated" for name in self.replaced]
        lines += [f"{name}: left alone, {reason}" for name, reason in self.left.items()]
        return "\n".join(lines) or "no recurrent layer found"


def accelerate(
    module: nn.Module, *, fallback: bool = True, threads: int | None = None, frozen: bool = False
) -> Acceleration:
    """Put the engine behind every `torch.nn.LSTM` in `module` (or `module` itself), in place.

    The layers stay the same objects of the same class with the same parameters, so optimisers, hooks, state dicts and
    whatever converts models are not touched. What the engine does not do (other devices and dtypes, tracing, …)
    is left to PyTorch, with one warning for each reason; `fallback=False` makes it a FastLSTMError. `threads` limits the
    engine's workers. `frozen` promises that weights change only by operations that PyTorch counts (not through `.data` or
    NumPy): a layer in `eval()` packs them once for all calls without gradients. The report says which layers were left
    alone, and why.

    >>> model = nn.Sequential(nn.Embedding(9, 4), nn.LSTM(4, 4), nn.GRU(4, 4))
    >>> print(accelerate(model))
    1: accelerated
    2: left alone, a GRU
    """
    report = Acceleration([], {})
    for name, layer in module.named_modules():
        name = name or type(layer).__name__
        reason = _reason_to_leave(layer)
        if reason is None:
            continue
        if reason:
            report.left[name] = reason
            continue
        _put(layer, Options(fallback, threads, frozen))
        report.replaced.append(name)
    return report


def restore(module: nn.Module) -> list[str]:
    """Take the engine from every accelerated layer in `module`; returns their names."""
    restored = []
    for name, layer in module.named_modules():
        if _accelerated(layer):
            del layer.forward
            restored.append(name or type(layer).__name__)
    return restored


def _put(layer: Any, options: Options) -> None:
    layer.forward = Forward(layer, options).forward


def _accelerated(layer: nn.Module) -> bool:
    return isinstance(getattr(vars(layer).get("forward"), "__self__", None), Forward)


def _reason_to_leave(layer: nn.Module) -> str | None:
    """Why `layer` is not accelerated: empty if it is to be, None if it is not recurrent at all."""
    if isinstance(layer, torch.jit.ScriptModule):
        original = getattr(layer, "original_name", "")
        return "compiled by TorchScript" if original in ("LSTM", "GRU", "RNN") else None
    if not isinstance(layer, nn.RNNBase | nn.RNNCellBase):
        return None
    if not isinstance(layer, nn.LSTM):
        return f"a {type(layer).__name__}"
    if _accelerated(layer):
        return "accelerated already"
    if "forward" in vars(layer) or type(layer).forward is not nn.LSTM.forward:
        return f"a {type(layer).__name__} with its own forward"
    if layer.proj_size:
        return f"it has projections (proj_size={layer.proj_size})"
    return foreign(weights_of(layer))
