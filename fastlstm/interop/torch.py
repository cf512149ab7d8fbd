"""`torch.nn.LSTM` over the compiled kernels: `LSTM`, and `accelerate` for models that already hold one.

>>> import torch
>>> lstm = LSTM(5, 8, batch_first=True)
>>> out, (h_n, c_n) = lstm(torch.zeros(2, 3, 5))
>>> tuple(out.shape), tuple(h_n.shape)
((2, 3, 8), (1, 2, 8))

Letters: T time steps, B sequences, I inputs, H hidden size, L layers, D directions, N real steps if packed.
PyTorch's gates come in the engine's order i, f, g, o; its two weight matrices and two biases a layer are
`W = [weight_hh | weight_ih]` and `b = bias_ih + bias_hh`. The parameters stay the module's own and are read
at each call.
"""

from __future__ import annotations

from typing import Any, NamedTuple

try:
    import torch
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ImportError("fastlstm.interop.torch needs PyTorch: pip install 'fastlstm[torch]'") from None

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from fastlstm.engine.layout import Plan, full_plan
from fastlstm.errors import FastLSTMError
from fastlstm.interop.autograd import Layer, plan_of_packed, run

States = tuple[Tensor, Tensor]


class LSTM(nn.LSTM):
    """`torch.nn.LSTM` for the CPU: its constructor, parameters, inputs, outputs and errors, and faster.

    Two keywords are its own: `fallback=True` leaves other devices and dtypes to PyTorch's own LSTM, where
    `FastLSTMError` is raised otherwise, and `threads` limits the engine's workers. `proj_size` is refused.
    While PyTorch traces or compiles a graph, the layer is PyTorch's own. Double backward is an error.
    """

    fallback: bool = False
    threads: int | None = None

    def __init__(self, *args: Any, fallback: bool = False, threads: int | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.proj_size:
            raise FastLSTMError(
                f"proj_size is {self.proj_size}: projections need torch.nn.LSTM, leave it at 0 here"
            )
        self.fallback = fallback
        self.threads = threads

    def forward(self, input: Any, hx: States | None = None) -> tuple[Any, States]:
        """Outputs and final states, as `torch.nn.LSTM` gives them.

        `input` is (T, B, I), (B, T, I) if `batch_first`, (T, I) or a PackedSequence; `hx` two of (L·D, B, H).
        Raises PyTorch's errors for wrong shapes, FastLSTMError for what the engine cannot compute.
        """
        packed = isinstance(input, PackedSequence)
        if torch.jit.is_tracing() or torch.compiler.is_compiling():  # pyright: ignore[reportPrivateImportUsage]
            return super().forward(input, hx)
        if self.fallback and self._obstacle(input.data if packed else input):
            return super().forward(input, hx)
        return self._packed(input, hx) if packed else self._padded(input, hx)

    def _packed(self, input: PackedSequence, hx: States | None) -> tuple[PackedSequence, States]:
        data, batch_sizes, sorted_indices, unsorted_indices = input
        self._check(data, hx, batch_sizes)
        if hx is not None:
            hx = self.permute_hidden(hx, sorted_indices)
        out, final = self._layers(data, hx, plan_of_packed(batch_sizes.numpy(), len(data)))
        final = self.permute_hidden(final, unsorted_indices)
        return PackedSequence(out, batch_sizes, sorted_indices, unsorted_indices), final

    def _padded(self, input: Tensor, hx: States | None) -> tuple[Tensor, States]:
        if input.dim() not in (2, 3):
            raise ValueError(f"LSTM: Expected input to be 2D or 3D, got {input.dim()}D instead")
        if hx is not None and not hx[0].dim() == hx[1].dim() == input.dim():
            kind = "unbatched 2-D" if input.dim() == 2 else "batched 3-D"
            raise RuntimeError(
                f"For {kind} input, hx and cx should also be {kind[-3:]} "
                f"but got ({hx[0].dim()}-D, {hx[1].dim()}-D) tensors"
            )
        if input.dim() == 2:
            B = 0 if self.batch_first else 1
            out, (h, c) = self._padded(input.unsqueeze(B), hx and (hx[0].unsqueeze(1), hx[1].unsqueeze(1)))
            return out.squeeze(B), (h.squeeze(1), c.squeeze(1))
        self._check(input, hx, None)
        if input.numel() == 0:
            return super().forward(input, hx)
        if not self.batch_first:
            return self._layers(input, hx, full_plan(*input.shape[:2]))
        input = input.transpose(0, 1)
        out, final = self._layers(input, hx, full_plan(*input.shape[:2]))
        return out.transpose(0, 1), final

    def _obstacle(self, x: Tensor) -> str:
        """What keeps the engine from computing with this input and the weights; empty if nothing does."""
        weight = self.weight_ih_l0
        if not (x.is_cpu and weight.is_cpu):
            return f"input on {x.device} with weights on {weight.device}"
        if x.dtype != weight.dtype or weight.dtype not in (torch.float32, torch.float64):
            return f"input of {x.dtype} with weights of {weight.dtype}"
        return ""

    def _check(self, x: Tensor, hx: States | None, batch_sizes: Tensor | None) -> None:
        """Raise PyTorch's errors for dtypes and shapes, then the engine's."""
        if hx is None:
            self.check_input(x, batch_sizes)
        else:
            self.check_forward_args(x, hx, batch_sizes)
            for state in hx:
                if state.dtype != x.dtype or state.device != x.device:
                    raise RuntimeError(
                        "Input and hidden tensors are not of the same dtype and device, found input tensor "
                        f"{x.dtype} at {x.device} and hidden tensor {state.dtype} at {state.device}"
                    )
        if obstacle := self._obstacle(x):
            raise FastLSTMError(
                f"fastlstm's LSTM computes in float32 or float64 on the CPU and met {obstacle}: "
                "convert or move both, or set fallback=True to leave this to torch.nn.LSTM"
            )

    def _layers(self, x: Tensor, hx: States | None, plan: Plan) -> tuple[Tensor, States]:
        """Outputs (T, B, D·H), or (N, D·H) where x is (N, I), and the final states (L·D, B, H)."""
        D = 2 if self.bidirectional else 1
        # Without a graph the way through autograd, a good part of a short call, is spared.
        layer_of = Layer.apply if torch.is_grad_enabled() else run
        # Quicker than `all_weights`; what is not among the parameters is computed from others (parametrised).
        own, no_bias = self._parameters, () if self.bias else (None, None)
        final = []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                x = nn.functional.dropout(x, self.dropout, self.training)
            of_layer = slice(layer * D, (layer + 1) * D)
            h0, c0 = (None, None) if hx is None else (hx[0], hx[1])
            if h0 is not None and c0 is not None and self.num_layers > 1:
                h0, c0 = h0[of_layer], c0[of_layer]
            names = [name for four in self._all_weights[of_layer] for name in (*four, *no_bias)]
            weights = [own[name] if name in own else name and getattr(self, name) for name in names]
            x, h, c, *_ = layer_of(x, h0, c0, self.hidden_size, plan, self.threads, *weights)
            final.append((h, c))
        if self.num_layers == 1:
            return x, final[0]
        return x, (torch.cat([h for h, _ in final]), torch.cat([c for _, c in final]))


class Acceleration(NamedTuple):
    """What `accelerate` did: the names of the replaced layers, and of the others with the reason."""

    replaced: list[str]
    left: dict[str, str]

    def __str__(self) -> str:
        lines = [f"{name}: accelerated" for name in self.replaced]
        lines += [f"{name}: left alone, {reason}" for name, reason in self.left.items()]
        return "\n".join(lines) or "no recurrent layer found"


def accelerate(module: nn.Module, *, fallback: bool = False, threads: int | None = None) -> Acceleration:
    """Make every eligible `torch.nn.LSTM` in `module` (or `module` itself) an `LSTM` of this file, in place.

    The layers stay the same objects with the same parameters, so optimisers, hooks and state dicts are not
    touched. `fallback` and `threads` are those of `LSTM`. The report says what was left alone, and why.

    >>> model = nn.Sequential(nn.Embedding(9, 4), nn.LSTM(4, 4), nn.GRU(4, 4))
    >>> print(accelerate(model))
    1: accelerated
    2: left alone, a GRU
    """
    report = Acceleration([], {})
    for name, layer in module.named_modules():
        name = name or type(layer).__name__
        reason = _reason_to_leave(layer, fallback)
        if reason is None:
            continue
        if reason:
            report.left[name] = reason
            continue
        layer.__class__ = LSTM
        layer.__dict__.update(fallback=fallback, threads=threads)
        report.replaced.append(name)
    return report


def restore(module: nn.Module) -> list[str]:
    """Make every `LSTM` of this file in `module` a `torch.nn.LSTM` again; returns their names."""
    restored = []
    for name, layer in module.named_modules():
        if type(layer) is LSTM:
            del layer.fallback, layer.threads
            layer.__class__ = nn.LSTM  # pyright: ignore[reportAttributeAccessIssue]
            restored.append(name or "LSTM")
    return restored


def _reason_to_leave(layer: nn.Module, fallback: bool) -> str | None:
    """Why `layer` is not replaced: empty if it is to be, None if it is not recurrent at all."""
    kind = type(layer).__name__
    if isinstance(layer, torch.jit.ScriptModule):
        original = getattr(layer, "original_name", "")
        return "compiled by TorchScript" if original in ("LSTM", "GRU", "RNN") else None
    if not isinstance(layer, nn.RNNBase | nn.RNNCellBase):
        return None
    if type(layer) is LSTM:
        return "accelerated already"
    if type(layer) is not nn.LSTM:
        return f"a {kind}" + (", which may change what an LSTM does" if isinstance(layer, nn.LSTM) else "")
    weight = layer.weight_ih_l0
    if layer.proj_size:
        return f"it has projections (proj_size={layer.proj_size})"
    if weight.device.type != "cpu" and not fallback:
        return f"it is on {weight.device}"
    if weight.dtype not in (torch.float32, torch.float64) and not fallback:
        return f"its weights are {weight.dtype}"
    return ""
