"""What PyTorch's own test suite asks of `torch.nn.LSTM` on a CPU in float32 and float64, asked of ours.

Transcribed, by the name of PyTorch's test or module check:

- sizes: rnn_args_check, rnn_initial_hidden_state, error_RNN_seq_len_zero, RNN_input_size_zero (an empty
  batch), the error inputs of LSTM and of all recurrent modules, RNN_dropout with probabilities 0 and 1,
  RNN_change_dropout, a dropout that cannot be meant
- sequences: variable_sequence (packed = each sequence alone; batch_first; both directions; gradients),
  unbatched input with and without states, states of packed input in the caller's order
- gradients: rnn_retain_variables, LSTM_grad_and_gradgrad (the grad half, in test_interop_torch),
  lstmcell_backward_only_one_output_grad (for out, h_n and c_n), non_contiguous_tensors
- modules (in test_interop_torch_modules): forward, repr, pickle, save_load, factory_kwargs, to, to_empty,
  if_train_and_eval_modes_differ, rnn_weight_norm, weight tying, stateless (functional_call with other
  weights), requires_grad

Not applicable: all of cuDNN, CUDA, MPS and XPU (flatten_parameters, parity with the CPU, memory formats,
device transfers); GRU, RNN and the cells; PackedSequence as a class; lazy modules, of which
there is no LSTM. Gradgrad, projections, half precision, TorchScript, quantisation, functorch: test_interop_modes.
"""

from __future__ import annotations

import pytest
from peers import require

torch = require("torch")  # first: without it the file is skipped, and what follows cannot be imported
# ruff: noqa: E402

from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence, pad_packed_sequence

from fastlstm.interop.torch import LSTM

DTYPES = [torch.float32, torch.float64]
MODULES = [LSTM, nn.LSTM]  # what is asked of ours must hold for PyTorch's, or it is no transcription


@pytest.fixture(params=MODULES, ids=["ours", "theirs"])
def Module(request):
    torch.manual_seed(0)
    return request.param


@pytest.mark.parametrize(
    ("x", "h", "c", "text"),
    [
        ((5, 2, 4), (2, 2, 6), (2, 2, 6), r"input.size\(-1\) must be equal to input_size. Expected 3, got 4"),
        ((5, 2, 3), (2, 2, 7), (2, 2, 6), r"Expected hidden\[0\] size \(2, 2, 6\), got \[2, 2, 7\]"),
        ((5, 2, 3), (2, 2, 6), (2, 2, 7), r"Expected hidden\[1\] size \(2, 2, 6\), got \[2, 2, 7\]"),
        ((5, 2, 3), (2, 3, 6), (2, 3, 6), r"Expected hidden\[0\] size \(2, 2, 6\), got \[2, 3, 6\]"),
        ((5, 2, 3), (1, 2, 6), (1, 2, 6), r"Expected hidden\[0\] size \(2, 2, 6\), got \[1, 2, 6\]"),
        (
            (5, 2, 3),
            (2, 6),
            (2, 6),
            r"For batched 3-D input, hx and cx should also be 3-D but got \(2-D, 2-D\)",
        ),
        (
            (5, 3),
            (2, 1, 6),
            (2, 6),
            r"For unbatched 2-D input, hx and cx should also be 2-D but got \(3-D, 2-D\)",
        ),
        ((0, 2, 3), (2, 2, 6), (2, 2, 6), "Expected sequence length to be larger than 0"),
        ((3,), None, None, "LSTM: Expected input to be 2D or 3D, got 1D"),
        ((2, 5, 2, 3), None, None, "LSTM: Expected input to be 2D or 3D, got 4D"),
    ],
)
@pytest.mark.parametrize("options", [{"num_layers": 2}, {"bidirectional": True}])
def test_sizes_that_do_not_fit(Module, options, x, h, c, text):
    hx = None if h is None else (torch.zeros(h), torch.zeros(c))
    with pytest.raises((RuntimeError, ValueError), match=text) as ours:
        Module(3, 6, **options)(torch.zeros(x), hx)
    with pytest.raises(ours.type):
        nn.LSTM(3, 6, **options)(torch.zeros(x), hx)


def test_packed_states_that_do_not_fit():
    packed = pack_sequence([torch.zeros(3, 3), torch.zeros(2, 3)])
    for Module in MODULES:
        with pytest.raises(
            RuntimeError, match=r"size of tensor a \(3\) must match the size of tensor b \(2\)"
        ):
            Module(3, 6)(packed, (torch.zeros(1, 3, 6), torch.zeros(1, 3, 6)))


@pytest.mark.parametrize(
    ("name", "weight"),
    [
        ("weight_ih_l0", torch.zeros(24, 4)),
        ("weight_hh_l0", torch.zeros(24, 5)),
        ("weight_hh_l1", torch.zeros(20, 6)),
        ("bias_ih_l0", torch.zeros(20)),
    ],
)
def test_weights_that_do_not_fit(name, weight):
    layer = LSTM(3, 6, 2)
    setattr(layer, name, nn.Parameter(weight))
    with pytest.raises(RuntimeError, match="a weight is"):
        layer(torch.zeros(5, 2, 3))


def test_lazily_negated_tensors():
    torch.manual_seed(0)
    layer, (x, h0, c0, dout) = (
        LSTM(3, 4),
        (torch.randn(5, 2, 3), *torch.randn(2, 1, 2, 4), torch.randn(5, 2, 4)),
    )
    found = []
    for negated in (torch._neg_view, torch.neg):
        inputs = [negated(t).requires_grad_() for t in (x, h0, c0)]
        out, _ = layer(inputs[0], tuple(inputs[1:]))
        found.append((out, *torch.autograd.grad(out, [*inputs, *layer.parameters()], negated(dout))))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_all_weights_too_small_for_the_states():
    layer = LSTM(3, 6)
    for name, weight in LSTM(3, 4).named_parameters():
        setattr(layer, name, weight)
    zero = torch.zeros(1, 2, 6)
    for hx in (None, (zero, zero)):
        with pytest.raises(RuntimeError, match="a weight is"):
            layer(torch.zeros(5, 2, 3), hx)


def test_dtypes_that_do_not_fit(Module):
    with pytest.raises(ValueError, match=r"input dtype \(torch.float64\) does not match weight dtype"):
        Module(3, 6)(torch.zeros(5, 2, 3, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"input dtype \(torch.int64\) does not match weight dtype"):
        Module(3, 6)(torch.zeros(5, 2, 3, dtype=torch.int64))
    zero = torch.zeros(1, 2, 6)
    for hx in ((zero.double(), zero.double()), (zero.to("meta"), zero)):
        with pytest.raises(RuntimeError):
            Module(3, 6)(torch.zeros(5, 2, 3), hx)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"hidden_size": 0}, ValueError, "hidden_size must be greater than zero"),
        ({"hidden_size": 2.0}, TypeError, "hidden_size should be of type int"),
        ({"input_size": 0}, ValueError, "input_size must be greater than zero"),
        ({"num_layers": 0}, ValueError, "num_layers must be greater than zero"),
        ({"bias": 1}, TypeError, "bias should be of type bool"),
        ({"batch_first": "yes"}, TypeError, "batch_first should be of type bool"),
        ({"dropout": 1.5}, ValueError, r"dropout should be a number in range \[0, 1\]"),
        ({"dropout": -0.1}, ValueError, r"dropout should be a number in range \[0, 1\]"),
        ({"proj_size": 7}, ValueError, "proj_size has to be smaller than hidden_size"),
    ],
)
def test_constructor_errors(Module, arguments, error, text):
    with pytest.raises(error, match=text):
        Module(**{"input_size": 3, "hidden_size": 6, **arguments})


def test_dropout_of_a_single_layer_is_warned_of(Module):
    with pytest.warns(UserWarning, match="expects num_layers greater than 1"):
        Module(3, 6, dropout=0.5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_states_are_zero_states(Module, dtype):
    layer = Module(3, 6, 2, dtype=dtype)
    x = torch.randn(5, 4, 3, dtype=dtype)
    zero = torch.zeros(2, 4, 6, dtype=dtype)
    out, (h, c) = layer(x)
    given, (h_given, c_given) = layer(x, (zero, zero))
    for a, b in ((out, given), (h, h_given), (c, c_given)):
        assert a.dtype == dtype
        assert torch.equal(a, b)


def test_an_empty_batch(Module):
    out, (h, c) = Module(3, 6, bidirectional=True)(torch.zeros(5, 0, 3))
    assert (out.shape, h.shape, c.shape) == ((5, 0, 12), (2, 0, 6), (2, 0, 6))


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_certain_dropout(Module, probability):
    layer = Module(3, 6, 2, dropout=probability)
    x = torch.randn(5, 2, 3)
    out = layer(x)[0]
    if probability:
        # The second layer saw zeros: all sequences are alike.
        torch.testing.assert_close(out[:, 0], out[:, 1])
        assert not torch.allclose(layer.eval()(x)[0][:, 0], layer(x)[0][:, 1])
    else:
        assert torch.equal(out, layer.eval()(x)[0])


def test_dropout_may_be_changed_between_calls(Module):
    layer, x = Module(3, 6, 2, dropout=0.5), torch.randn(5, 2, 3)
    layer.eval()
    reference = layer(x)[0]
    layer.train()
    assert not torch.equal(layer(x)[0], reference)
    layer.dropout = 0.0
    assert torch.equal(layer(x)[0], reference)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("order", [[6, 4, 4, 1], [1, 6, 4, 2]])
def test_packed_sequences_are_each_sequence_alone(Module, batch_first, bidirectional, order):
    layer = Module(3, 5, 2, bidirectional=bidirectional, batch_first=batch_first, dtype=torch.float64)
    LD = 4 if bidirectional else 2
    sequences = [torch.randn(n, 3, dtype=torch.float64, requires_grad=True) for n in order]
    states = [torch.randn(LD, len(order), 5, dtype=torch.float64, requires_grad=True) for _ in "hc"]
    leaves = [*sequences, *states, *layer.parameters()]

    packed = pack_sequence(sequences, enforce_sorted=False)
    result, final = layer(packed, tuple(states))
    padded, lengths = pad_packed_sequence(result, batch_first=True)
    assert lengths.tolist() == order
    together = [padded[b, :n] for b, n in enumerate(order)] + [*final[0].unbind(1), *final[1].unbind(1)]

    alone = [layer(s, (states[0][:, b], states[1][:, b])) for b, s in enumerate(sequences)]
    apart = [out for out, _ in alone] + [h for _, (h, _) in alone] + [c for _, (_, c) in alone]
    weights = [torch.randn_like(y) for y in apart]
    grads = []
    for outputs in (together, apart):
        loss = sum((w * y).sum() for w, y in zip(weights, outputs, strict=True))
        grads.append(torch.autograd.grad(loss, leaves))
    for a, b in zip([*together, *grads[0]], [*apart, *grads[1]], strict=True):
        torch.testing.assert_close(a, b)


def test_padding_is_not_read(Module):
    layer, x = Module(3, 5, bidirectional=True), torch.randn(6, 3, 3)
    expected = layer(pack_padded_sequence(x, [6, 3, 2]))[0].data
    x[3:, 1] = x[2:, 2] = float("nan")
    assert torch.equal(layer(pack_padded_sequence(x, [6, 3, 2]))[0].data, expected)


@pytest.mark.parametrize("batch_first", [False, True])
def test_unbatched_input_is_a_batch_of_one(Module, batch_first):
    layer = Module(3, 5, 2, bidirectional=True, batch_first=batch_first)
    x = torch.randn(6, 3)
    hx = torch.randn(4, 5), torch.randn(4, 5)
    dim = 0 if batch_first else 1
    for states, batch in ((None, None), (hx, tuple(s.unsqueeze(1) for s in hx))):
        out, (h, c) = layer(x, states)
        out_b, (h_b, c_b) = layer(x.unsqueeze(dim), batch)
        assert (out.shape, h.shape, c.shape) == ((6, 10), (4, 5), (4, 5))
        for a, b in ((out, out_b.squeeze(dim)), (h, h_b.squeeze(1)), (c, c_b.squeeze(1))):
            torch.testing.assert_close(a, b)


def test_a_graph_that_is_retained_gives_the_same_gradients_again(Module):
    layer = Module(10, 20, 2)
    x = torch.randn(5, 6, 10, requires_grad=True)
    out, _ = layer(x)
    out.sum().backward(retain_graph=True)
    first = [x.grad.clone(), *(p.grad.clone() for p in layer.parameters())]
    for _ in range(3):
        layer.zero_grad()
        x.grad.zero_()
        out.sum().backward(retain_graph=True)
        for a, b in zip(first, [x.grad, *(p.grad for p in layer.parameters())], strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("which", ["out", "h_n", "c_n"])
def test_a_gradient_by_one_output_alone(which):
    grads = []
    for Module in MODULES:
        torch.manual_seed(0)
        layer = Module(3, 5, dtype=torch.float64)
        x = torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True)
        hx = [torch.randn(1, 2, 5, dtype=torch.float64, requires_grad=True) for _ in "hc"]
        out, (h, c) = layer(x, tuple(hx))
        {"out": out, "h_n": h, "c_n": c}[which].pow(2).sum().backward()
        grads.append([x.grad, *(s.grad for s in hx), *(p.grad for p in layer.parameters())])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


def test_tensors_that_are_not_contiguous(Module):
    layer = Module(3, 5, batch_first=True)
    x, h, c = torch.randn(2, 4, 3), torch.randn(1, 2, 5), torch.randn(1, 2, 5)
    layer(x, (h, c))[0].sum().backward()
    expected = [layer(x, (h, c))[0], *(p.grad.clone() for p in layer.parameters())]
    layer.zero_grad()
    strided = [t.transpose(0, -1).contiguous().transpose(0, -1) for t in (x, h, c)]
    for name in ("weight_ih_l0", "weight_hh_l0"):
        weight = getattr(layer, name)
        weight.data = weight.data.T.contiguous().T
    assert not any(t.is_contiguous() for t in (strided[0], layer.weight_hh_l0))
    out = layer(strided[0], tuple(strided[1:]))[0]
    out.sum().backward()
    for a, b in zip(expected, [out, *(p.grad for p in layer.parameters())], strict=True):
        torch.testing.assert_close(a, b)


def test_states_that_are_expanded_get_their_gradient_summed(Module):
    layer = Module(3, 5)
    h = torch.randn(1, 1, 5, requires_grad=True)
    out, _ = layer(torch.randn(4, 7, 3), (h.expand(1, 7, 5), torch.zeros(1, 1, 5).expand(1, 7, 5)))
    out.sum().backward()
    assert h.grad.shape == h.shape
    assert h.grad.abs().sum() > 0
