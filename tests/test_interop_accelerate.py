"""`accelerate` and `restore`: what is replaced, what is left alone, and training that does not notice."""

from __future__ import annotations

import pytest
from peers import require

torch = require("torch")  # first: without it the file is skipped, and what follows cannot be imported
# ruff: noqa: E402

from torch import nn
from torch.nn.utils.rnn import pack_sequence

from fastlstm.interop.torch import accelerate, restore


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.LSTM(4, 4, batch_first=True)
        self.same = self.encoder
        self.stack = nn.ModuleList([nn.LSTM(4, 4, 2, bidirectional=True), nn.GRU(4, 4), nn.LSTMCell(4, 4)])
        self.projected = nn.LSTM(4, 4, proj_size=2)
        self.narrow = nn.LSTM(4, 4, dtype=torch.bfloat16)
        self.away = nn.LSTM(4, 4, device="meta")
        self.own = type("Own", (nn.LSTM,), {})(4, 4)
        self.peephole = type("Peephole", (nn.LSTM,), {"forward": lambda self, x: x})(4, 4)
        self.head = nn.Linear(4, 4)


def test_eligible_layers_are_replaced_and_the_others_named_with_a_reason():
    model = Mixed()
    parameters = list(model.parameters())
    encoder = model.encoder
    report = accelerate(model)
    assert report.replaced == ["encoder", "stack.0", "own"]
    assert report.left == {
        "stack.1": "a GRU",
        "stack.2": "a LSTMCell",
        "projected": "it has projections (proj_size=2)",
        "narrow": "torch.bfloat16, where the engine computes in float32 or float64",
        "away": "a tensor on meta",
        "peephole": "a Peephole with its own forward",
    }
    assert str(report).splitlines()[1:4] == [
        "stack.0: accelerated",
        "own: accelerated",
        "stack.1: left alone, a GRU",
    ]
    assert type(model.encoder) is nn.LSTM
    assert model.encoder is model.same is encoder
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    assert accelerate(model).left["encoder"] == "accelerated already"


def test_restore_undoes_it():
    model = Mixed()
    before = {name: dict(vars(layer)) for name, layer in model.named_modules()}
    accelerate(model, fallback=False, threads=1)
    nn.utils.parametrizations.weight_norm(model.own, "weight_hh_l0")
    assert model.encoder.forward.__self__.options == (False, 1, False)
    assert restore(model) == ["encoder", "stack.0", "own"]
    nn.utils.parametrize.remove_parametrizations(model.own, "weight_hh_l0")
    assert {name: dict(vars(layer)) for name, layer in model.named_modules()} == before
    assert restore(model) == []


def test_a_layer_by_itself():
    layer = nn.LSTM(3, 4)
    x = torch.randn(5, 2, 3)
    expected = layer(x)[0]
    assert accelerate(layer).replaced == ["LSTM"]
    torch.testing.assert_close(layer(x)[0], expected)
    assert restore(layer) == ["LSTM"]
    assert torch.equal(layer(x)[0], expected)


def test_a_model_without_recurrence():
    assert str(accelerate(nn.Linear(2, 2))) == "no recurrent layer found"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TorchScript's own
def test_torchscript_is_left_alone():
    model = nn.Sequential(torch.jit.script(nn.LSTM(3, 4)))
    assert accelerate(model).left == {"0": "compiled by TorchScript"}


class Tagger(nn.Module):
    """The tutorial's tagger: words to tags, one sentence at a time."""

    def __init__(self, words: int, tags: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, 6)
        self.lstm = nn.LSTM(6, 6)
        self.hidden2tag = nn.Linear(6, tags)

    def losses(self):
        torch.manual_seed(1)
        optimiser = torch.optim.SGD(self.parameters(), lr=0.1)
        for length in [5, 4, 1, 9, 3, 7] * 5:
            sentence = torch.randint(self.embedding.num_embeddings, (length,))
            tags = sentence % self.hidden2tag.out_features
            optimiser.zero_grad()
            out, _ = self.lstm(self.embedding(sentence))
            loss = nn.functional.cross_entropy(self.hidden2tag(out), tags)
            loss.backward()
            optimiser.step()
            yield loss.item()


class CharacterModel(nn.Module):
    """A language model of names: packed batches, two layers, dropout, Adam with clipping."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(27, 8)
        self.lstm = nn.LSTM(8, 16, 2, dropout=0.3)
        self.head = nn.Linear(16, 27)

    def losses(self):
        torch.manual_seed(1)
        optimiser = torch.optim.Adam(self.parameters(), lr=0.01)
        names = [
            "mary",
            "anna",
            "emma",
            "elizabeth",
            "minnie",
            "margaret",
            "ida",
            "alice",
            "bertha",
            "jo",
            "annie",
        ]
        ids = [torch.tensor([0, *(ord(c) - 96 for c in name), 0]) for name in names]
        for first in [0, 5, 2, 7, 6] * 4:
            batch = ids[first : first + 5]
            x = pack_sequence([self.embedding(name[:-1]) for name in batch], enforce_sorted=False)
            targets = pack_sequence([name[1:] for name in batch], enforce_sorted=False)
            out, _ = self.lstm(x)
            loss = nn.functional.cross_entropy(self.head(out.data), targets.data)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.parameters(), 1.0)
            optimiser.step()
            yield loss.item()


class StreamModel(nn.Module):
    """A language model of a text: batch first, the state carried over and detached, a learned first state."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 8)
        self.lstm = nn.LSTM(8, 12, batch_first=True)
        self.first = nn.Parameter(torch.zeros(2, 1, 1, 12))
        self.head = nn.Linear(12, 10)

    def losses(self):
        torch.manual_seed(1)
        optimiser = torch.optim.Adam(self.parameters(), lr=0.01)
        text = torch.arange(3 * 81).reshape(3, 81) ** 2 % 10
        state = tuple(self.first.expand(2, 1, 3, 12))
        for start in range(0, 80, 8):
            out, state = self.lstm(self.embedding(text[:, start : start + 8]), state)
            loss = nn.functional.cross_entropy(
                self.head(out).flatten(0, 1), text[:, start + 1 : start + 9].flatten()
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            state = tuple(s.detach() for s in state)
            yield loss.item()


@pytest.mark.parametrize("make", [lambda: Tagger(9, 3), CharacterModel, StreamModel])
def test_one_line_added_gives_the_same_losses(make):
    torch.manual_seed(0)
    theirs = list(make().losses())
    torch.manual_seed(0)
    model = make()
    assert accelerate(model).replaced == ["lstm"]
    ours = list(model.losses())
    assert theirs[-1] < theirs[0] - 0.05
    assert ours == pytest.approx(theirs, abs=1e-4)
