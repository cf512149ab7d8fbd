"""Every mode in which `torch.nn.LSTM` can be run, run with ours: the same results, or the same error.

A mode is a function of a model (Linear, LSTM, Linear) and an input; what it returns or raises is compared with what it
returns or raises for PyTorch's own layer. `left` is the reason for which the layer was left to PyTorch, which must be
warned of once; without one, the engine must have computed.
"""

from __future__ import annotations

import copy
import io
import os
import pickle
import shutil
import subprocess
import sys
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from peers import require

torch = require("torch")  # first: without it the file is skipped, and what follows cannot be imported
# ruff: noqa: E402

from torch import nn
from torch.autograd import forward_ad
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils.rnn import PackedSequence, pack_sequence
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from fastlstm.errors import FastLSTMError
from fastlstm.interop import autograd, gate
from fastlstm.interop.torch import LSTM, accelerate

Run = Callable[[nn.Module, torch.Tensor], Any]


class Mode(NamedTuple):
    run: Run
    left: str | None  # the reason why PyTorch computed; None where the engine did; "*" where neither is asked
    slow: bool  # compiles: once is enough
    rough: bool  # rounds to bfloat16
    options: dict[str, Any]  # of the LSTM


MODES: dict[str, Mode] = {}


def mode(
    left: str | None = None, slow: bool = False, rough: bool = False, **options: Any
) -> Callable[[Run], Run]:
    def add(run: Run) -> Run:
        MODES[run.__name__] = Mode(run, left, slow, rough, options)
        return run

    return add


class Model(nn.Module):
    def __init__(self, make: Callable[..., nn.LSTM], **options: Any) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.lstm = make(3, 4, **options)
        self.last = nn.Linear(4 * (2 if self.lstm.bidirectional else 1), 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.lstm(self.first(x))[0])


def step(model: Callable[..., Any], x: torch.Tensor, leaves: Any = None) -> list[Any]:
    """Outputs and the gradients of the leaves."""
    out = model(x)
    leaves = list(model.parameters() if leaves is None else leaves)
    return [out, *torch.autograd.grad(out.float().pow(2).sum(), leaves)]


# ---- plain runs


@mode()
def training(model, x):
    return step(model, x.requires_grad_(), [x, *model.parameters()])


@mode(num_layers=2, bidirectional=True, dropout=0.5, batch_first=True)
def training_of_a_stack(model, x):
    torch.manual_seed(3)
    return step(model, x)


@mode()
def without_gradients(model, x):
    with torch.no_grad():
        first = model(x)
    with torch.inference_mode():
        return first, model(x)


@mode()
def double_precision(model, x):
    return step(model.double(), x.double())


@mode("torch.float16, where")
def half(model, x):
    return step(model.half(), x.half())


@mode("torch.bfloat16, where")
def bfloat16(model, x):
    return step(model.bfloat16(), x.bfloat16())


@mode()
def back_from_half(model, x):
    return model.half().float()(x)


@mode("a tensor on meta")
def meta(model, x):
    return [(y.shape, y.device) for y in step(model.to("meta"), x.to("meta"))]


@mode()
def made_on_meta(model, x):
    state = model.state_dict()
    model = model.to("meta").to_empty(device="cpu")
    model.load_state_dict(state)
    return step(model, x)


@mode()
def assigned_state(model, x):
    model.load_state_dict({k: v.clone() for k, v in model.state_dict().items()}, assign=True)
    return step(model, x)


@mode()
def other_default_device(model, x):
    with torch.device("meta"):
        return step(model, x)


@mode()
def other_default_dtype(model, x):
    torch.set_default_dtype(torch.float64)
    try:
        return step(model, x)
    finally:
        torch.set_default_dtype(torch.float32)


@mode()
def deterministic_algorithms(model, x):
    torch.use_deterministic_algorithms(True)
    try:
        return step(model, x)
    finally:
        torch.use_deterministic_algorithms(False)


# ---- inputs


@mode()
def unbatched(model, x):
    return step(model, x[:, 0])


@mode()
def expanded_states(model, x):
    h = torch.ones(1, 1, 4, requires_grad=True)
    out, (h_n, c_n) = model.lstm(x, (h.expand(1, 2, 4), h.expand(1, 2, 4)))
    return out, *torch.autograd.grad((out.sum() + h_n.sum() + c_n.sum()), [h, *model.lstm.parameters()])


@mode()
def states_as_a_list(model, x):
    return model.lstm(x, [torch.ones(1, 2, 4), torch.zeros(1, 2, 4)])


@mode("*")
def states_as_one_tensor(model, x):
    return model.lstm(x, torch.ones(2, 1, 2, 4))


@mode("*")
def three_states(model, x):
    return model.lstm(x, (torch.ones(1, 2, 4),) * 3)


@mode("*")
def states_on_meta(model, x):
    return model.lstm(x, (torch.ones(1, 2, 4, device="meta"),) * 2)


@mode("*")
def states_of_another_dtype(model, x):
    return model.lstm(x, (torch.ones(1, 2, 4).double(),) * 2)


@mode("*")
def states_of_another_size(model, x):
    return model.lstm(x, (torch.ones(1, 3, 4),) * 2)


@mode("*")
def no_tensor(model, x):
    return model.lstm(x.numpy())


@mode("*")
def no_input(model, x):
    return model.lstm(None)


@mode("*")
def ids_for_floats(model, x):
    return model.lstm(x.long())


@mode("*")
def complex_input(model, x):
    return model.lstm(x.cfloat())


@mode("*")
def no_batch(model, x):
    return step(model, x[:, :0])


@mode("*")
def no_time(model, x):
    return model(x[:0])


@mode("*")
def sparse_input(model, x):
    return model.lstm(x.to_sparse())


@mode("*")
def mkldnn_input(model, x):
    return model.lstm(x.to_mkldnn())


@mode("*")
def named_input(model, x):
    return model.lstm(x.rename("T", "B", "I"))


@mode("*")
def nested_input(model, x):
    return model.lstm(torch.nested.nested_tensor([x[0], x[0, :1]], layout=torch.jagged))


@mode()
def a_parameter_as_input(model, x):
    return model.lstm(nn.Parameter(x))


class Marked(torch.Tensor):
    """A subclass that goes through every operation."""


@mode("a Marked where")
def a_subclass_as_input(model, x):
    out, _ = model.lstm(x.as_subclass(Marked))
    return type(out), out.as_subclass(torch.Tensor)


@mode("a Marked where")
def a_subclass_as_weight(model, x):
    model.lstm.weight_hh_l0 = nn.Parameter(model.lstm.weight_hh_l0.detach().as_subclass(Marked))
    out, _ = model.lstm(x)
    return type(out), out.as_subclass(torch.Tensor)


@mode(batch_first=True)
def strided_input(model, x):
    return step(model, x.flip(0).permute(1, 0, 2)[:, ::2])


def packed(x, **options):
    return pack_sequence([x[:3, 0], x[:5, 1], x[:1, 0]], enforce_sorted=False, **options)


@mode(bidirectional=True)
def packed_sequences(model, x):
    out, (h, c) = model.lstm(packed(x), (torch.ones(2, 3, 4), torch.zeros(2, 3, 4)))
    return [*out, h, c, *torch.autograd.grad(out.data.sum() + c.sum(), model.lstm.parameters())]


@mode("torch.bfloat16, where")
def packed_bfloat16(model, x):
    return model.bfloat16().lstm(packed(x.bfloat16()))


@mode("*")
def packed_with_states_that_do_not_fit(model, x):
    return model.lstm(packed(x), (torch.ones(1, 2, 4),) * 2)


@mode("*")
def broken_packed_sequences(model, x):
    return model.lstm(PackedSequence(x[:, 0], torch.tensor([2, 2])))


@mode("projections", proj_size=2)
def projections(model, x):
    return model.lstm(x)


# ---- compilers and recorders


def compiled(backend, **options):
    def run(model, x):
        torch.compiler.reset()
        call = torch.compile(model, backend=backend, **options)
        with torch.no_grad():
            first = call(x)
        return first, step(call, x, model.parameters()), call(x[:3])

    return run


def compiler(name: str, run: Run, left: str | None = None) -> None:
    run.__name__ = f"compile_{name}"
    mode(left, slow=True)(run)


for backend in ("eager", "aot_eager", "inductor"):
    compiler(backend, compiled(backend))
compiler("fullgraph", compiled("eager", fullgraph=True), "*")
compiler("dynamic", compiled("eager", dynamic=True))


@mode("", slow=True)
def compile_with_rnns_allowed(model, x):
    import torch._dynamo

    torch.compiler.reset()
    with torch._dynamo.config.patch(allow_rnn=True):
        return step(torch.compile(model, backend="eager", fullgraph=True), x, model.parameters())


@mode(slow=True)
def compile_the_layer_alone(model, x):
    torch.compiler.reset()
    model.lstm.compile(backend="eager")
    return step(model, x)


@mode(slow=True)
def compile_a_training_step(model, x):
    torch.compiler.reset()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)

    @torch.compile(backend="eager")
    def train(x):
        loss = model(x).pow(2).mean()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        return loss

    return [train(x) for _ in range(3)]


@mode("*", slow=True)
def compiled_autograd(model, x):
    import torch._dynamo

    torch.compiler.reset()
    with torch._dynamo.config.patch(compiled_autograd=True):
        torch.compile(lambda x: model(x).sum().backward(), backend="eager")(x)
    return [p.grad for p in model.parameters()]


def exported(strict):
    def run(model, x):
        program = torch.export.export(model, (x,), strict=strict)
        assert any("lstm" in str(node.target) for node in program.graph.nodes)
        return program.module()(x)

    return run


compiler("export", exported(False), "*")
compiler("strict_export", exported(True), "*")


@mode("torch.jit.trace")
def jit_trace(model, x):
    return torch.jit.trace(model, x)(x[:3])


@mode("")
def jit_script(model, x):
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(model), file)
    file.seek(0)
    return step(torch.jit.load(file), x)


@mode()
def after_jit_script(model, x):
    torch.jit.script(model)
    return step(model, x)


@mode("operations are intercepted")
def make_fx(model, x):
    from torch.fx.experimental.proxy_tensor import make_fx

    with torch.no_grad():
        return make_fx(model)(x)(2 * x)


@mode("operations are intercepted", slow=True)
def make_fx_with_fake_tensors(model, x):
    from torch.fx.experimental.proxy_tensor import make_fx

    parameters = dict(model.named_parameters())
    call = lambda p, x: torch.func.functional_call(model, p, (x,))  # noqa: E731
    with torch.no_grad():
        return make_fx(call, tracing_mode="fake")(parameters, x)(parameters, 2 * x)


@mode("operations are intercepted", slow=True)
def make_fx_of_a_step(model, x):
    from torch.fx.experimental.proxy_tensor import make_fx

    return make_fx(lambda x: step(model, x))(x)(2 * x)


@mode("*")
def fake_tensors(model, x):
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        out = model(fake.from_tensor(x))
    return out.shape, out.dtype, out.device


@mode("operations are intercepted")
def counted_operations(model, x):
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        step(model, x)
    return counter.get_total_flops()


@mode("*")
def fx_symbolic_trace(model, x):
    graph = torch.fx.symbolic_trace(model)
    return [str(graph.graph), step(graph, x)]


@mode()
def profiled(model, x):
    with torch.profiler.profile():
        return step(model, x)


COARSE = torch.autocast("cpu", torch.bfloat16)


@mode(rough=True)
def autocast_after_a_linear(model, x):
    with COARSE:
        return step(model, x)


@mode(rough=True)
def autocast_alone(model, x):
    with COARSE:
        return model.lstm(x), *model.lstm(packed(x), (torch.ones(1, 3, 4),) * 2), model.lstm(x[:, 0])


@mode(rough=True, num_layers=2, bidirectional=True, dropout=0.5, batch_first=True)
def autocast_of_a_stack(model, x):
    torch.manual_seed(3)
    with COARSE:
        return step(model, x.bfloat16())


@mode(rough=True)
def autocast_without_gradients(model, x):
    with COARSE, torch.no_grad():
        first = model(x)
    with COARSE, torch.inference_mode():
        return first, model(x)


@mode(rough=True)
def autocast_of_bfloat16(model, x):
    with COARSE:
        return step(model.bfloat16(), x)


@mode(rough=True)
def autocast_with_checkpoints(model, x):
    def checkpointed(x):
        return checkpoint(model, x, use_reentrant=False)

    with COARSE:
        return step(checkpointed, x, model.parameters())


@mode(rough=True, slow=True)
def autocast_compiled(model, x):
    with COARSE:
        return step(torch.compile(model, backend="eager"), x, model.parameters())


@mode()
def autocast_of_double_precision(model, x):
    with COARSE:
        return model.double().lstm(x.double())


@mode("*")
def autocast_of_several_dtypes(model, x):
    with COARSE:
        return model.lstm(x.double())


@mode("a gradient is to be differentiated", rough=True)
def autocast_and_double_backward(model, x):
    with COARSE:
        out, _ = model.lstm(packed(x.requires_grad_()))
    (gradient,) = torch.autograd.grad(out.data.pow(2).sum(), x, create_graph=True)
    return gradient, *torch.autograd.grad(gradient.pow(2).sum(), [x, *list(model.lstm.parameters())[:2]])


@mode("autocast to torch.float16")
def autocast_to_half(model, x):
    with torch.autocast("cpu", torch.float16):
        return model.lstm(packed(x))


@mode()
def autocast_elsewhere(model, x):
    with torch.autocast("cuda", torch.bfloat16), torch.autocast("cpu", enabled=False):
        return step(model, x)


@mode()
def backward_under_autocast(model, x):
    out = model(x)
    with torch.autocast("cpu", torch.bfloat16):
        return torch.autograd.grad(out.sum(), model.parameters())


# ---- transforms


def loss(model, x):
    def function(parameters, x):
        return torch.func.functional_call(model, parameters, (x,)).pow(2).sum()

    return function, dict(model.named_parameters())


def transform(name: str, run: Run) -> None:
    """The same with and without a surrounding no_grad."""

    def without(model, x):
        with torch.no_grad():
            return with_(model, x)

    def with_(model, x):
        return run(model.double(), x.double())  # PyTorch's own cannot be transformed in float32

    with_.__name__, without.__name__ = f"func_{name}", f"func_{name}_under_no_grad"
    for function in (with_, without):
        mode("a transform of torch.func")(function)


def grad(model, x):
    function, parameters = loss(model, x)
    return torch.func.grad(function)(parameters, x)


def vjp(model, x):
    function, parameters = loss(model, x)
    out, pull = torch.func.vjp(function, parameters, x)
    return out, pull(out)


def per_sample_grad(model, x):
    function, parameters = loss(model, x)
    return torch.func.vmap(torch.func.grad(function), (None, 0))(parameters, torch.stack([x, 2 * x]))


def ensemble(model, x):
    parameters, buffers = torch.func.stack_module_state([model, copy.deepcopy(model)])
    return torch.func.vmap(lambda p, b: torch.func.functional_call(model, (p, b), (x,)))(parameters, buffers)


transform("grad", grad)
transform("vjp", vjp)
transform("per_sample_grad", per_sample_grad)
transform("ensemble", ensemble)
transform("vmap", lambda model, x: torch.func.vmap(model)(torch.stack([x, 2 * x])))
transform("jacrev", lambda model, x: torch.func.jacrev(model)(x))
transform("jacfwd", lambda model, x: torch.func.jacfwd(model)(x))
transform("jvp", lambda model, x: torch.func.jvp(model, (x,), (x,)))
transform("hessian", lambda model, x: torch.func.hessian(lambda x: model(x).sum())(x))
transform("functionalize", lambda model, x: torch.func.functionalize(model)(x))


@mode("operations are intercepted", slow=True)
def func_linearize(model, x):
    return torch.func.linearize(model.double(), x[:2].double())[0]


@mode("forward-mode differentiation")
def forward_mode(model, x):
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(model.double()(forward_ad.make_dual(x.double(), x.double()))).tangent


@mode()
def functional_call(model, x):
    other = {name: 2 * p for name, p in model.named_parameters()}
    return torch.func.functional_call(model, other, (x,))


# ---- autograd


@mode()
def retained_graph(model, x):
    out = model(x).sum()
    return [torch.autograd.grad(out, model.parameters(), retain_graph=True) for _ in range(3)]


@mode()
def a_second_backward_pass(model, x):
    out = model(x).sum()
    out.backward()
    out.backward()


@mode("a gradient is to be differentiated")
def double_backward(model, x):
    model, x = model.double(), x.double().requires_grad_()
    (gradient,) = torch.autograd.grad(model(x).pow(2).sum(), x, create_graph=True)
    return gradient, *torch.autograd.grad(gradient.pow(2).sum(), [x, *list(model.parameters())[:-1]])


@mode("a gradient is to be differentiated", bidirectional=True, bias=False)
def double_backward_of_packed_sequences(model, x):
    lstm, x = model.lstm.double(), x.double().requires_grad_()
    states = (x[0, 0, 0].expand(2, 3, 4), torch.ones(2, 3, 4).double())
    out, (h, _) = lstm(packed(x), states)
    (gradient,) = torch.autograd.grad(out.data.pow(2).sum() + h.sum(), x, create_graph=True)
    return gradient, *torch.autograd.grad(gradient.pow(2).sum(), [x, *lstm.parameters()])


@mode("a tensor without memory", slow=True)
def vectorised_jacobian(model, x):
    return torch.autograd.functional.jacobian(model.double(), x[:2].double(), vectorize=True)


@mode("a gradient is to be differentiated", slow=True)
def hessian(model, x):
    return torch.autograd.functional.hessian(lambda x: model.double()(x).sum(), x.double())


@mode()
def anomaly_detection(model, x):
    with torch.autograd.detect_anomaly(check_nan=True):
        return step(model, x)


@mode()
def frozen(model, x):
    model.lstm.requires_grad_(False)
    model.lstm.weight_hh_l0.requires_grad_(True)
    return step(model, x, [p for p in model.parameters() if p.requires_grad])


@mode("*")
def weights_changed_before_the_backward_pass(model, x):
    out = model(x)
    with torch.no_grad():
        model.lstm.weight_hh_l0.add_(1)
    out.sum().backward()


@mode("*")
def an_input_changed_before_the_backward_pass(model, x):
    embedded = model.first(x)
    out, _ = model.lstm(embedded)
    embedded.mul_(2)
    out.sum().backward()


def checkpointed(**options):
    def run(model, x):
        return step(lambda x: checkpoint(model, x, **options), x.requires_grad_(), [x])

    return run


@mode()
def checkpointing(model, x):
    return checkpointed(use_reentrant=False)(model, x)


@mode()
def reentrant_checkpointing(model, x):
    checkpoint(model, x.requires_grad_(), use_reentrant=True).sum().backward()
    return [p.grad for p in model.parameters()]


@mode()
def checkpointing_of_a_sequence(model, x):
    net = nn.Sequential(model.first, model, model.last)
    net[2] = nn.Linear(2, 2)
    return checkpoint_sequential(net, 2, x.requires_grad_(), use_reentrant=False)


@mode()  # what is there already is not copied
def save_on_cpu(model, x):
    with torch.autograd.graph.save_on_cpu():
        return step(model, x)


@mode("hooks on saved tensors copied", num_layers=2, bias=False)
def hooks_on_saved_tensors(model, x):
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.numpy().copy(), torch.from_numpy):
        return step(model, x)


@mode("operations are intercepted")
def mutation_on_saved_tensors(model, x):
    with torch.autograd.graph.allow_mutation_on_saved_tensors():
        out = model(x)
        with torch.no_grad():
            model.lstm.weight_hh_l0.mul_(2)
        return torch.autograd.grad(out.sum(), model.parameters())


@mode()
def hooks(model, x):
    seen = []
    model.lstm.register_forward_pre_hook(lambda m, args: (2 * args[0],))
    model.lstm.register_forward_hook(lambda m, args, out: (out[0] + 1, out[1]))
    model.lstm.register_forward_hook(lambda m, args, kw, out: seen.append(len(kw)), with_kwargs=True)
    model.lstm.register_full_backward_hook(lambda m, gx, gy: seen.append([g is None for g in gx]))
    model.lstm.register_full_backward_pre_hook(lambda m, gy: tuple(g if g is None else 2 * g for g in gy))
    model.lstm.weight_hh_l0.register_hook(lambda g: 3 * g)
    model.lstm.weight_ih_l0.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.sum()))
    model(x.requires_grad_()).sum().backward()
    return [p.grad for p in model.parameters()], seen


@mode()
def lbfgs(model, x):
    optimiser = torch.optim.LBFGS(model.parameters(), max_iter=4)

    def closure():
        optimiser.zero_grad()
        loss = model(x).pow(2).mean()
        loss.backward()
        return loss

    return [optimiser.step(closure) for _ in range(3)]


# ---- weights that are something else


@mode()
def weight_norm(model, x):
    parametrizations.weight_norm(model.lstm, "weight_hh_l0")
    return step(model, x)


@mode()
def spectral_norm(model, x):
    torch.manual_seed(4)
    parametrizations.spectral_norm(model.lstm, "weight_ih_l0")
    return step(model, x), step(model.eval(), x)


@mode()
def cached_parametrisation(model, x):
    parametrizations.orthogonal(model.lstm, "weight_hh_l0")
    with parametrize.cached():
        return step(model, x)


@mode()
def old_weight_norm(model, x):
    nn.utils.weight_norm(model.lstm, "weight_hh_l0")
    return step(model, x)


@mode()
def pruned(model, x):
    from torch.nn.utils import prune

    prune.l1_unstructured(model.lstm, "weight_hh_l0", amount=0.5)
    return step(model, x)


@mode()
def weights_dropped(model, x):
    """As AWD-LSTM does: other weights in the list that nn.LSTM computes with."""
    model.lstm._flat_weights[1] = 2 * model.lstm._flat_weights[1]
    return step(model, x)


@mode()
def weights_set_as_tensors(model, x):
    weight = model.lstm.weight_hh_l0
    del model.lstm.weight_hh_l0
    model.lstm.register_parameter("raw", weight)
    model.lstm.weight_hh_l0 = 2 * weight
    return step(model, x)


@mode()
def tied_weights(model, x):
    model.lstm.bias_hh_l0 = model.lstm.bias_ih_l0
    return step(model, x)


@mode("*")
def a_weight_that_is_gone(model, x):
    model.lstm.weight_hh_l0 = None
    return model(x)


@mode("*")
def a_weight_on_meta(model, x):
    model.lstm.weight_hh_l0 = nn.Parameter(model.lstm.weight_hh_l0.to("meta"))
    return model(x)


@mode("*")
def a_weight_of_another_dtype(model, x):
    model.lstm.bias_hh_l0 = nn.Parameter(model.lstm.bias_hh_l0.double())
    return model(x)


@mode("*")
def quantised(model, x):
    from torch.ao.quantization import quantize_dynamic

    small = quantize_dynamic(model, {nn.LSTM}, dtype=torch.qint8)
    return str(small), small(x)


# ---- copies


@mode()
def copies(model, x):
    other = copy.deepcopy(model)
    found = step(other, x)
    with torch.no_grad():
        other.lstm.weight_hh_l0.zero_()
    return found, other(x), model(x)


@mode()
def a_shallow_copy(model, x):
    return copy.copy(model.lstm)(x)


@mode()
def a_pickled_copy(model, x):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return step(torch.load(file, weights_only=False), x), step(pickle.loads(pickle.dumps(model)), x)


@mode()
def averaged(model, x):
    average = torch.optim.swa_utils.AveragedModel(model)
    average.update_parameters(model)
    return average(x)


@mode()
def shared_memory(model, x):
    return step(model.share_memory(), x)


@mode()
def data_parallel(model, x):
    return step(nn.DataParallel(model), x)


# ---- what it looks like


@mode("*")
def looks(model, x):
    import inspect

    lstm = model.lstm
    return [
        type(lstm) is nn.LSTM, repr(model), lstm.extra_repr(), sorted(model.state_dict()), [n for n, _ in model.named_modules()],
        str(inspect.signature(lstm.forward)), lstm.forward.__name__, lstm.forward.__doc__, len(lstm.all_weights),
    ]  # fmt: skip


@mode("*")
def called_by_the_class(model, x):
    return nn.LSTM.forward(model.lstm, x)


@mode()
def called_by_name(model, x):
    return model.lstm.forward(x), model.lstm.forward(input=x, hx=None), model.lstm(hx=None, input=x)


# ---- the comparison


def require_compiler():
    """Inductor needs one: .ci/run brings it."""
    if not (os.environ.get("FASTLSTM_REQUIRE_PEERS") or shutil.which(os.environ.get("CXX", "g++"))):
        pytest.skip("no C++ compiler for inductor: install g++, or name one in CXX")


def model_of(make, options):
    torch.manual_seed(0)
    return Model(make, **options), torch.randn(5, 2, 3)


def outcome(run, model, x):
    """What a mode leads to: results, or an error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = run(model, x)
        except Exception as error:
            result = error
    return result, [str(w.message) for w in caught if "fastlstm" in str(w.message)]


@pytest.fixture
def engine_calls(monkeypatch):
    calls = []
    monkeypatch.setattr(gate, "_told", set())
    for name in ("forward", "backward"):
        function = getattr(autograd, name)
        monkeypatch.setattr(autograd, name, lambda *a, function=function: calls.append(None) or function(*a))
    return calls


def assert_same(ours, theirs, rough=False):
    if isinstance(theirs, Exception):
        assert isinstance(ours, Exception), ours
        assert type(ours) is type(theirs), (repr(ours), repr(theirs))
    elif isinstance(theirs, torch.Tensor):
        assert ours.device == theirs.device
        assert ours.requires_grad == theirs.requires_grad
        # Rounding to bfloat16 once costs up to 1 / 256 of a number, and cancellation makes more of it.
        size = float(theirs.detach().abs().max()) if rough and theirs.numel() else 0.0
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=max(1e-5, size / 32))
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert_same(a, b, rough)
    elif isinstance(theirs, dict):
        assert_same([*ours, *ours.values()], [*theirs, *theirs.values()], rough)
    else:
        assert ours == theirs


@pytest.mark.parametrize("name", MODES)
def test_a_mode_gives_what_pytorchs_own_layer_gives(name, engine_calls):
    run, left, slow, rough, options = MODES[name]
    if name == "compile_inductor":
        require_compiler()
    theirs, _ = outcome(run, *model_of(nn.LSTM, options))
    assert not engine_calls
    for make in (nn.LSTM,) if slow else (nn.LSTM, LSTM):
        model, x = model_of(make, options)
        wanted = left
        if make is nn.LSTM and not accelerate(model).replaced:
            wanted = "*"
        gate._told.clear()
        engine_calls.clear()
        ours, told = outcome(run, model, x)
        assert_same(ours, theirs, rough)
        if wanted is None:
            assert engine_calls
            assert told == []
        elif wanted != "*":
            assert len(told) == bool(wanted and not isinstance(theirs, Exception))
            assert not told or f"left an LSTM to torch.nn.LSTM: {wanted}" in told[0]


def test_without_fallback_what_pytorch_can_do_is_an_error():
    found = {}
    for name, (run, left, slow, _, options) in MODES.items():
        if left in (None, "", "*") or slow or name.startswith("func"):
            continue
        model, x = model_of(LSTM, options)
        model.lstm.forward.__self__.options = gate.Options(fallback=False)
        theirs, _ = outcome(run, *model_of(nn.LSTM, options))
        found[name] = outcome(run, model, x)[0]
        if isinstance(theirs, Exception):
            assert type(found[name]) is type(theirs), name
        else:
            assert isinstance(found[name], FastLSTMError), name
            assert left in str(found[name]), name
    assert len(found) > 10


def test_a_reason_is_told_once_at_the_line_of_the_call(monkeypatch):
    monkeypatch.setattr(gate, "_told", set())
    layer = LSTM(3, 4).half()
    x = torch.zeros(2, 1, 3, dtype=torch.float16)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        layer(x)
        layer(x)
        layer.bfloat16()(x.bfloat16())
    assert [str(w.message).split(":")[1].split(",")[0] for w in caught] == [
        " torch.float16",
        " torch.bfloat16",
    ]
    assert {w.filename for w in caught} == {__file__}


def test_a_layer_goes_with_its_last_reference():
    layer = LSTM(3, 4)
    weight, forward = weakref.ref(layer.weight_hh_l0), layer.forward
    del layer
    assert weight() is None
    with pytest.raises(FastLSTMError, match="is gone"):
        forward(torch.zeros(2, 1, 3))


def test_other_processes():
    """Shared memory, with fork and spawn, and a DataLoader's workers."""
    script = Path(__file__).with_name("interop_processes.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["fork", "spawn", "workers"], done.stderr
