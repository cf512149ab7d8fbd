"""Rows of an `Embedding`, or one-hot ones, for an accelerated `LSTM`: when the engine goes by ids, and that nobody notices.

A case is a function of a model and ids; what it returns, and all gradients that it leaves behind, are compared with what
PyTorch's own layer gives. `by_ids` says whether the engine must have gone by ids, `direct` whether the embedding must have
got its gradient from there, and not through the embedding's output.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from peers import require

torch = require("torch")  # first: without it the file is skipped, and what follows cannot be imported
# ruff: noqa: E402

from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence
from torch.utils.checkpoint import checkpoint

from fastlstm.engine.sequence import Ids
from fastlstm.interop import autograd
from fastlstm.interop.torch import accelerate

V, I, H, T, B = 7, 4, 5, 20, 4


class Model(nn.Module):
    def __init__(self, embedding: dict[str, Any], **options: Any) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, I, **embedding)
        self.lstm = nn.LSTM(I, H, **options)
        self.head = nn.Linear(H * (2 if self.lstm.bidirectional else 1), I)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.finish(self.embedding(ids))

    def finish(self, x: torch.Tensor) -> torch.Tensor:
        out, (h, c) = self.lstm(x)
        return self.head(out).pow(2).sum() + h.sum() + c.pow(3).sum()


Run = Callable[[Model, torch.Tensor], Any]


class Case(NamedTuple):
    run: Run
    by_ids: bool
    direct: bool
    embedding: dict[str, Any]
    lstm: dict[str, Any]


CASES: dict[str, Case] = {}


def case(
    by_ids: bool = True, direct: bool = True, embedding: dict[str, Any] | None = None, **lstm: Any
) -> Callable[[Run], Run]:
    def add(run: Run) -> Run:
        CASES[run.__name__] = Case(run, by_ids, by_ids and direct, embedding or {}, lstm)
        return run

    return add


# ---- where the engine goes by ids


@case()
def training(model, ids):
    model(ids).backward()


@case(batch_first=True)
def batch_first(model, ids):
    model(ids).backward()


@case(num_layers=2, bidirectional=True, dropout=0.5, bias=False)
def stack(model, ids):
    torch.manual_seed(1)
    model(ids).backward()


@case()
def single_sequence(model, ids):
    model(ids.flatten()).backward()


@case()
def ids_of_32_bits_that_lie_otherwise(model, ids):
    model(ids.int().t()).backward()


@case()
def view_of_the_tutorial(model, ids):
    ids = ids.flatten()
    model.finish(model.embedding(ids).view(len(ids), 1, -1)).backward()


@case(batch_first=True, bidirectional=True)
def transposed(model, ids):
    model.finish(model.embedding(ids).transpose(0, 1)).backward()


@case(bidirectional=True)
def packed(model, ids):
    batch = pack_sequence([ids[:18, 0], ids[:, 1], ids[:17, 2], ids[:9, 3]], enforce_sorted=False)
    out, (h, _) = model.lstm(PackedSequence(model.embedding(batch.data), *batch[1:]))
    (out.data.pow(2).sum() + h.pow(2).sum()).backward()


@case(embedding={"padding_idx": 2})
def padding(model, ids):
    model(ids).backward()


@case(embedding={"max_norm": 0.5})
def rows_of_limited_norm(model, ids):
    model(ids).backward()


@case()
def function_instead_of_module(model, ids):
    model.finish(nn.functional.embedding(ids, model.embedding.weight)).backward()


@case()
def tied_weights(model, ids):
    (model(ids) + (model.head(torch.ones(H).double()) @ model.embedding.weight.T).sum()).backward()


@case()
def another_use_of_the_output(model, ids):
    x = model.embedding(ids)
    (model.finish(x) + x.pow(3).sum() + model.finish(x)).backward()


@case()
def two_backward_passes(model, ids):
    loss = model(ids)
    loss.backward(retain_graph=True)
    loss.backward()


@case()
def one_backward_pass_too_many(model, ids):
    loss = model(ids)
    loss.backward()
    loss.backward()


@case()
def gradients_add_up(model, ids):
    for _ in range(2):
        model(ids).backward()


@case()
def frozen_lstm(model, ids):
    model.lstm.requires_grad_(False)
    model(ids).backward()


@case()
def chosen_inputs(model, ids):
    model(ids).backward(inputs=[model.embedding.weight])


@case()
def hook_on_the_weight(model, ids):
    seen = []
    model.embedding.weight.register_hook(lambda g: seen.append(g) or 2 * g)
    model.embedding.weight.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.clone()))
    model(ids).backward()
    return seen


@case()
def dropout_that_does_nothing(model, ids):
    model.finish(nn.Dropout(0.5).eval()(model.embedding(ids))).backward()


@case()
def weights_changed_before_the_backward_pass(model, ids):
    loss = model(ids)
    with torch.no_grad():
        model.embedding.weight.mul_(2)
    loss.backward()


@case()
def copies(model, ids):
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        other(ids).backward()
        model.embedding.weight.grad = other.embedding.weight.grad


@case()
def anomaly_detection(model, ids):
    with torch.autograd.detect_anomaly(check_nan=True):
        model(ids).backward()


# ---- where the output's gradient is asked for


@case(direct=False)
def hook_on_the_output(model, ids):
    x, seen = model.embedding(ids), []
    loss = model.finish(x)
    x.register_hook(lambda g: seen.append(g) or 2 * g)
    del x
    loss.backward()
    return seen


@case(direct=False)
def hook_behind_a_view(model, ids):
    x, seen = model.embedding(ids), []
    x.register_hook(seen.append)
    model.finish(x.transpose(0, 1)).backward()
    return seen


@case(direct=False, batch_first=True)
def retained_gradient(model, ids):
    x = model.embedding(ids)
    x.retain_grad()
    model.finish(x).backward()
    return x.grad


@case(direct=False)
def hook_before_a_checkpoint(model, ids):
    x, seen = model.embedding(ids), []
    x.register_hook(lambda g: seen.append(g) or 2 * g)
    checkpoint(model.finish, x, use_reentrant=False).backward()
    return seen


@case(direct=False)
def checkpoint_of_the_old_kind(model, ids):
    checkpoint(model.finish, model.embedding(ids), use_reentrant=True).backward()


@case(direct=False)
def gradient_of_the_output(model, ids):
    x = model.embedding(ids)
    return torch.autograd.grad(model.finish(x), x)


@case(direct=False)
def gradients_of_both(model, ids):
    x = model.embedding(ids)
    return torch.autograd.grad(model.finish(x), [x, model.embedding.weight])


@case(direct=False)
def gradients_of_the_others(model, ids):
    model(ids).backward(inputs=list(model.lstm.parameters()))


@case()
def double_backward(model, ids):
    weights = [model.embedding.weight, model.lstm.weight_hh_l0]
    found = torch.autograd.grad(model(ids), weights, create_graph=True)
    sum(g.pow(2).sum() for g in found).backward()


# ---- where rows come again and again, whatever they are


@case(direct=False, embedding={"sparse": True})
def sparse_gradients(model, ids):
    model(ids).backward()


@case(direct=False, embedding={"scale_grad_by_freq": True})
def gradients_by_frequency(model, ids):
    model(ids).backward()


class Reversed(torch.autograd.Function):
    """The gradient goes on with the other sign: of a view, nothing else may be thought."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


@case(direct=False)
def reversed_gradient(model, ids):
    model.finish(Reversed.apply(model.embedding(ids))).backward()


@case(direct=False)
def changed_in_place(model, ids):
    model.finish(model.embedding(ids).mul_(2)).backward()


@case(direct=False)
def changed_in_place_behind_a_view(model, ids):
    x = model.embedding(ids)
    x.transpose(0, 1).add_(1)
    model.finish(x).backward()


@case(direct=False)
def changed_behind_autograds_back(model, ids):
    x = model.embedding(ids)
    x.data[2, 1, 3] += 1
    model.finish(x).backward()


@case(direct=False)
def weights_changed_before_the_layer(model, ids):
    x = model.embedding(ids)
    with torch.no_grad():
        model.embedding.weight.mul_(2)
    model.finish(x).backward()


@case(direct=False)
def ids_changed_before_the_layer(model, ids):
    x = model.embedding(ids)
    ids.zero_()
    model.finish(x).backward()


@case(direct=False)
def detached(model, ids):
    model.finish(model.embedding(ids).detach()).backward()


@case(direct=False)
def parts_of_rows(model, ids):
    model.lstm = accelerated_as(model.lstm, nn.LSTM(2, H).double())
    model.finish(model.embedding(ids).view(T, -1, 2)).backward()


@case(direct=False)
def frozen_embedding(model, ids):
    model.embedding.requires_grad_(False)
    model(ids).backward()


@case(direct=False)
def without_gradients(model, ids):
    with torch.no_grad():
        return model(ids)


@case(direct=False)
def parametrised(model, ids):
    parametrize.register_parametrization(model.embedding, "weight", nn.Tanh())
    model(ids).backward()


@case(direct=False)
def hook_that_changes_the_output(model, ids):
    model.embedding.register_forward_hook(lambda m, a, out: out + 1)
    model(ids).backward()


@case(direct=False)
def hook_on_the_modules_gradient(model, ids):
    seen = []
    model.embedding.register_full_backward_hook(lambda m, i, o: seen.append(o[0]))
    model(ids).backward()
    return seen


@case(direct=False)
def packed_from_a_padded_batch(model, ids):
    x = pack_padded_sequence(model.embedding(ids), torch.tensor([20, 19, 19, 8]))
    model.lstm(x)[0].data.pow(2).sum().backward()


@case(direct=False)
def checkpointed(model, ids):
    checkpoint(model, ids, use_reentrant=False).backward()


@case(direct=False)
def kept_elsewhere(model, ids):
    with torch.autograd.graph.save_on_cpu():
        model(ids).backward()


# ---- one-hot inputs


def one_hot(ids):
    return nn.functional.one_hot(ids % I, I).double()


@case(direct=False, batch_first=True, bidirectional=True, num_layers=2)
def one_hot_rows(model, ids):
    model.finish(one_hot(ids)).backward()


@case(direct=False)
def one_hot_rows_packed(model, ids):
    batch = pack_padded_sequence(one_hot(ids), torch.tensor([20, 19, 19, 8]))
    model.lstm(batch)[0].data.pow(2).sum().backward()


@case(direct=False)
def one_hot_rows_without_gradients(model, ids):
    with torch.inference_mode():
        first = model.finish(one_hot(ids))
    with torch.no_grad():
        return first.clone(), model.finish(one_hot(ids))


@case(direct=False)
def one_hot_rows_differentiated_twice(model, ids):
    weights = list(model.lstm.parameters())
    found = torch.autograd.grad(model.finish(one_hot(ids)), weights, create_graph=True)
    sum(g.pow(2).sum() for g in found).backward()


@case(direct=False)
def one_hot_rows_that_want_a_gradient(model, ids):
    x = one_hot(ids).requires_grad_()
    model.finish(x).backward()
    return x.grad


@case(direct=False)
def one_hot_rows_for_infinite_weights(model, ids):
    with torch.no_grad():
        model.lstm.weight_ih_l0[0, 3] = torch.inf
        return model.finish(one_hot(ids * 0))


@case(direct=False)
def one_hot_rows_and_others(model, ids):
    for wrong in (0.5, 1, -1, torch.nan):
        x = one_hot(ids)
        x[-1, -1] = torch.tensor([0, 1, wrong, 0])
        model.finish(x).backward()


@case(direct=False)
def a_row_of_zeros(model, ids):
    x = one_hot(ids)
    x[-1, -1] = 0
    model.finish(x).backward()


# ---- where the engine does not go by ids


@case(False)
def few_ids(model, ids):
    model(ids[:2]).backward()


@case(False)
def dropout_between(model, ids):
    torch.manual_seed(1)
    model.finish(nn.functional.dropout(model.embedding(ids), 0.5)).backward()


@case(False)
def rows_apart(model, ids):
    model.finish(one_hot(ids).repeat_interleave(2, -1)[..., ::2]).backward()


def accelerated_as(layer: nn.LSTM, other: nn.LSTM) -> nn.LSTM:
    """`other` with constant weights, accelerated if `layer` is."""
    with torch.no_grad():
        for p in other.parameters():
            p.fill_(0.1)
    if "forward" in vars(layer):
        accelerate(other)
    return other


def outcome(run: Run, model: Model, ids: torch.Tensor) -> tuple[list[Any], str]:
    """What is returned and all gradients that are left, and PyTorch's error."""
    result, error = None, ""
    try:
        result = run(model, ids)
    except RuntimeError as raised:
        error = str(raised)
    return [result, *(p.grad for p in model.parameters())], error


@pytest.fixture
def ways(monkeypatch):
    """For each call of the engine: whether it went by ids, or gave an embedding its gradient."""
    found: dict[str, list[bool]] = {"forward": [], "backward": []}
    forward, backward = autograd.forward, autograd.backward

    def forward_spy(kind, x, *rest):
        found["forward"].append(isinstance(x, Ids))
        return forward(kind, x, *rest)

    def backward_spy(*arguments):
        found["backward"].append(arguments[-1] != 0)
        return backward(*arguments)

    monkeypatch.setattr(autograd, "forward", forward_spy)
    monkeypatch.setattr(autograd, "backward", backward_spy)
    return found


@pytest.mark.filterwarnings(
    "ignore:fastlstm left an LSTM", "ignore:Anomaly Detection", "ignore:Full backward hook"
)
@pytest.mark.parametrize("name", CASES)
def test_a_case_gives_what_pytorchs_own_layer_gives(name, ways):
    run, by_ids, direct, embedding, options = CASES[name]
    torch.manual_seed(0)
    theirs = Model(embedding, **options).double()
    with torch.no_grad():
        theirs.embedding.weight[5] = theirs.embedding.weight[3]  # equal, but two of them
    ours, ids = copy.deepcopy(theirs), torch.randint(V, (T, B))
    accelerate(ours)
    expected, error = outcome(run, theirs, ids.clone())
    assert not ways["forward"]
    found, our_error = outcome(run, ours, ids.clone())
    assert our_error == error
    assert any(ways["forward"]) == by_ids
    assert any(ways["backward"]) == direct
    torch.testing.assert_close(found, expected, equal_nan=True)


def test_the_gradients_are_those_of_differences():
    torch.manual_seed(0)
    model, ids = Model({"padding_idx": 1}, bidirectional=True).double(), torch.randint(V, (T, B))
    accelerate(model)
    model(ids).backward()
    weight = model.embedding.weight
    assert not weight.grad[1].any()
    step = 1e-5
    with torch.no_grad():
        for v, i in ((0, 0), (3, 2), (6, 3)):
            there, found = weight[v, i].item(), []
            for value in (there + step, there - step):
                weight[v, i] = value
                found.append(model(ids).item())
            weight[v, i] = there
            assert (found[0] - found[1]) / (2 * step) == pytest.approx(weight.grad[v, i].item(), rel=1e-6)
