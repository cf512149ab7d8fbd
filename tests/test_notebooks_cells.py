"""The five notebooks' cells after the import, as they would be written, on data with the awkward property of each.

A cell is run as a notebook runs it: in one namespace, where only the cell that defines the LSTM is an import. `set` there
gives its characters in an order of its own, as a set does in every process anew.
"""

from __future__ import annotations

import builtins
from pathlib import Path
from textwrap import dedent
from typing import Any

import notebook_oracles as oracle
import numpy as np
import pytest

from fastlstm.errors import FastLSTMError
from fastlstm.notebooks.names_training import end_mark, lengths_of
from fastlstm.notebooks.soliloquy import SOLILOQUY, SOLILOQUY_LITERAL

ORDERS = pytest.mark.parametrize("order", range(3))
# With both dashes of the soliloquy: neither is in the first half.
TEXT = SOLILOQUY[190:250]
assert "—" in TEXT


def run(cells: list[str], order: int, **names: Any) -> dict[str, Any]:
    """The namespace after all cells."""

    def shuffled(values: Any = ()) -> list[Any]:
        values = sorted(builtins.set(values))
        return [values[n] for n in np.random.default_rng(order).permutation(len(values))]

    space = {"__name__": "notebook", "set": shuffled, **names}
    for cell in cells:
        exec(dedent(cell), space)
    return space


def written(folder: Path, text: str) -> str:
    path = folder / "text.txt"
    path.write_text(text, encoding="utf-8")
    return str(path)


VOCABULARY = """
    import numpy as np

    chars = set(data)
    data_size, char_size = len(data), len(chars)
    print(f"Data size: {data_size}, Char Size: {char_size}")
    char_to_idx = {c: i for i, c in enumerate(chars)}
    idx_to_char = {i: c for i, c in enumerate(chars)}
    train_X, train_y = data[:-1], data[1:]
    np.random.seed(0)
"""
ENCODER = """
    def oneHotEncode(text):
        column = np.zeros((char_size, 1))
        column[char_to_idx[text]] = 1
        return column
"""
GREEDY = """
    logits = lstm.forward([oneHotEncode(c) for c in train_X])
    greedy = "".join(idx_to_char[int(np.argmax(y))] for y in logits)
"""


@ORDERS
def test_zoo_a(order: int, capsys: pytest.CaptureFixture[str]) -> None:
    cells = [
        VOCABULARY,
        ENCODER,
        "from fastlstm.notebooks.zoo_a import LSTM",
        """
        hidden_size = 25
        lstm = LSTM(input_size = char_size + hidden_size, hidden_size = hidden_size, output_size = char_size,
                    num_epochs = 200, learning_rate = 0.05)
        lstm.train(train_X, train_y)
        """,
        "lstm.test(train_X, train_y)",
        GREEDY,
    ]
    space = run(cells, order, data=TEXT)
    assert space["lstm"].char_to_idx == space["char_to_idx"]
    assert sum(a == b for a, b in zip(space["greedy"], TEXT[1:], strict=True)) > 0.9 * len(TEXT)
    printed = capsys.readouterr().out
    assert f"Ground Truth:\n{TEXT[1:]}\n" in printed
    assert "Accuracy: " in printed


@ORDERS
def test_zoo_b_tests_on_characters_that_training_lacked(
    order: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file holds quotes, backslashes and line ends; only its beginning is learnt, which has no dash."""
    cells = [
        """
        with open(path, "r", encoding="utf-8") as file:
            data = file.read()
        """,
        VOCABULARY,
        "from fastlstm.notebooks.zoo_b import LSTM",
        """
        lstm = LSTM(input_size=char_size + 25, output_size=char_size, hidden_size=25, num_epochs=3, learning_rate=0.05)
        lstm.train(train_X[:150], train_y[:150])
        lstm.test(train_X[150:], train_y[150:])
        """,
        """
        lstm.reset_memory()
        w = lstm.weight_forget.copy()
        """,
    ]
    space = run(cells, order, path=written(tmp_path, SOLILOQUY_LITERAL))
    assert space["char_size"] == 35
    assert "—" not in space["train_X"][:151]
    assert space["w"].shape == (25, 60)
    predictions = capsys.readouterr().out.partition("Predictions:\n")[2].partition("\n\nAccuracy")[0]
    assert len(predictions) == 2 * (900 - 150) - 1
    assert set(predictions[::2]) <= set(SOLILOQUY_LITERAL)
    assert set(predictions[1::2]) == {" "}


@ORDERS
def test_walkthrough(order: int) -> None:
    cells = [
        """
        import numpy as np

        h, c = np.random.normal(0, 1, (3, 1)), np.random.normal(0, 1, (3, 4))
        A, B = np.random.normal(0, 1, (1, 4)), np.random.normal(0, 1, (4, 4))
        apart = np.dot(h, A) + np.dot(c, B)
        together = np.dot(np.concatenate([h, c], axis=1), np.concatenate([A, B], axis=0))
        """,
        VOCABULARY.replace("char_to_idx", "chr_to_idx").replace("idx_to_char", "idx_to_chr"),
        "from fastlstm.notebooks.walkthrough import LSTM, oneHotEncode",
        """
        train_X = oneHotEncode(train_X, char_size, chr_to_idx)
        lstm = LSTM(char_size + 10, 10, char_size, 0.02, 500)
        lstm.train(train_X, train_y, chr_to_idx)
        text = lstm.inference(train_X, idx_to_chr)
        """,
    ]
    space = run(cells, order, data=TEXT)
    np.testing.assert_allclose(space["apart"], space["together"])
    assert space["lstm"].char_to_idx == space["chr_to_idx"]
    assert sum(a == b for a, b in zip(space["text"], TEXT[1:], strict=True)) > 0.8 * len(TEXT)


KAGGLE = """
    sequence_length = 28
    data_generator = DataGenerator(path, sequence_length)
    lstm = LSTM(hidden_size=100, vocab_size=data_generator.vocab_size, sequence_length=sequence_length,
                learning_rate=1e-3)
    lstm.train(data_generator)
"""
OWN_GENERATOR = """
    import numpy as np

    class DataGenerator:
        def __init__(self, path, sequence_length):
            with open(path, encoding="utf-8") as f:
                self.data = f.read()
            chars = set(self.data)
            self.char_to_idx = {c: i for (i, c) in enumerate(chars)}
            self.idx_to_char = {i: c for (i, c) in enumerate(chars)}
            self.data_size, self.vocab_size = len(self.data), len(chars)
            self.sequence_length, self.pointer = sequence_length, 0

        def next_batch(self):
            ids = [self.char_to_idx[c] for c in self.data[self.pointer : self.pointer + self.sequence_length + 1]]
            inputs = np.zeros((self.sequence_length, self.vocab_size))
            for t, n in enumerate(ids[:-1]):
                inputs[t, n] = 1
            self.pointer += self.sequence_length
            if self.pointer + self.sequence_length + 1 >= self.data_size:
                self.pointer = 0
            return inputs, ids[1:]
"""


@pytest.mark.parametrize("own", [False, True], ids=["imported generator", "own generator"])
def test_kaggle(own: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A text hardly longer than two windows, trained to the notebook's threshold; its own generator numbers as a set does."""
    generator = [OWN_GENERATOR] if own else ["from fastlstm.notebooks.kaggle import DataGenerator"]
    cells = [
        "import numpy as np; np.random.seed(0)",
        *generator,
        "from fastlstm.notebooks.kaggle import LSTM",
        KAGGLE,
        """text = lstm.predict(data_generator, "d", 20)""",
    ]
    space = run(cells, 1, path=written(tmp_path, TEXT))
    printed = capsys.readouterr().out
    assert "iter :0, loss:" in printed
    lstm, generator = space["lstm"], space["data_generator"]
    V = generator.vocab_size
    smooth = np.log(V) * 28
    for loss in lstm.losses:
        smooth = 0.999 * smooth + 0.001 * loss
    assert smooth <= 46
    assert list(generator.char_to_idx) != sorted(TEXT) or not own
    assert len(space["text"]) == 21
    assert space["text"] in TEXT + TEXT
    with pytest.raises(FastLSTMError, match="'X'"):
        lstm.predict(generator, "X", 5)


@pytest.mark.parametrize("length", [0, 1, 28])
def test_kaggle_on_a_file_shorter_than_a_window(length: int, tmp_path: Path) -> None:
    cells = ["from fastlstm.notebooks.kaggle import LSTM, DataGenerator", KAGGLE]
    with pytest.raises(FastLSTMError, match=f"{length} characters: too few for windows of 28"):
        run(cells, 0, path=written(tmp_path, SOLILOQUY[:length]))


FIRST = """mary anna emma elizabeth minnie margaret ida alice bertha sarah annie clara ella florence cora martha laura nellie
grace carrie maude mabel bessie jennie gertrude julia hattie edith mattie rose catherine lillian ada lillie helen jessie
louise ethel lula myrtle"""
# The longest fill the array; one of them ends in two equal letters, and one in a letter that stands nowhere else.
NAMES = [*FIRST.split()[:30], "wilhelmiss", *FIRST.split()[30:], "zwilhelmaq"]
CELLS = [
    """
    import csv
    import numpy as np

    with open(path, newline="") as file:
        data = [row["Name"] for row in csv.DictReader(file)][:10000]
    data = np.array([name.lower() for name in data]).reshape(-1, 1)
    """,
    """
    longest = max(len(name[0]) for name in data) + 1
    transform_data = np.copy(data)
    for i in range(len(transform_data)):
        transform_data[i, 0] = transform_data[i, 0] + "." * (longest - len(transform_data[i, 0]))
    """,
    """
    vocab = list(set("".join(name[0] for name in transform_data)))
    vocab_size = len(vocab)
    char_id, id_char = {}, {}
    for i, char in enumerate(vocab):
        char_id[char] = i
        id_char[i] = char
    """,
    """
    batch_size = 20
    train_dataset = []
    for start in range(0, len(transform_data) - batch_size + 1, batch_size):
        rows = transform_data[start : start + batch_size, 0]
        batch = []
        for k in range(len(rows[0])):
            matrix = np.zeros([batch_size, vocab_size])
            for b in range(batch_size):
                matrix[b, char_id[rows[b][k]]] = 1.0
            batch.append(matrix)
        train_dataset.append(batch)
    """,
    "from fastlstm.notebooks.names import *",
    """
    np.random.seed(0)
    embeddings, parameters, J, P, A = train(train_dataset, iters=6, batch_size=20)
    """,
    """
    averages = []
    for values in (J, P, A):
        averages.append([np.mean(values[i : i + 30]) for i in range(0, len(values), 30)])
    """,
    "names = predict(parameters, embeddings, id_char, vocab_size)",
]
PIECES = """
    parameters, embeddings = initialize_parameters(output_units=vocab_size), None
    embeddings = np.random.normal(0, 0.01, (vocab_size, 100))
    V, S = initialize_V(parameters), initialize_S(parameters)
    J, P, A = [], [], []
    for step in range(6):
        batch = train_dataset[step % len(train_dataset)]
        caches = forward_propagation(batch, parameters, embeddings)
        perplexity, loss, accuracy = cal_loss_accuracy(batch, caches[4])
        derivatives, errors = backward_propagation(batch, *caches, parameters)
        parameters, V, S = update_parameters(parameters, derivatives, V, S, step)
        embeddings = update_embeddings(embeddings, errors, batch)
        J.append(loss), P.append(perplexity), A.append(accuracy)
"""


@pytest.fixture
def table(tmp_path: Path) -> str:
    path = tmp_path / "NationalNames.csv"
    rows = [f"{n + 1},{name.capitalize()},1880,F,{9000 - n}" for n, name in enumerate(NAMES)]
    path.write_text("\n".join(["Id,Name,Year,Gender,Count", *rows]) + "\n", encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("way", ["train", "pieces"])
def test_names_of_which_the_longest_has_no_end_mark(way: str, table: str) -> None:
    """All cells, whatever the vocabulary's order; each name's targets are its own, and the mark where it has one."""
    # A set that puts the mark first, last and between.
    for order in range(20 if way == "train" else 1):
        space = run(CELLS[:4], order, path=table)
        if way == "pieces" or space["char_id"]["."] in (0, 7, len(space["vocab"]) - 1):
            names_as_the_oracle(run(CELLS, order, path=table) if way == "train" else space, way)


def names_as_the_oracle(space: dict[str, Any], way: str) -> None:
    assert space["transform_data"].dtype == "<U10"
    ids = [[space["char_id"][c] for c in (name + ".")[:10]] for name in NAMES]
    batches = [ids[n : n + 20] for n in (0, 20)]
    np.random.seed(0)  # noqa: NPY002
    E, H, V = 100, 256, space["vocab_size"]
    shapes = dict.fromkeys(("fgw", "igw", "ogw", "ggw"), (E + H, H)) | {"how": (H, V)}
    w = {name: np.random.normal(0, 0.01, shape) for name, shape in shapes.items()}  # noqa: NPY002
    embeddings = np.random.normal(0, 0.01, (V, E))  # noqa: NPY002
    if way == "pieces":
        exec("from fastlstm.notebooks.names import *", space)
        np.random.seed(0)  # noqa: NPY002
        exec(dedent(PIECES), space)
    expected, history = oracle.adam_names(w, embeddings, batches, 0.005, 6)
    np.testing.assert_allclose(np.array([space["P"], space["J"], space["A"]]).T, history, rtol=0, atol=1e-9)
    np.testing.assert_allclose(space["embeddings"], expected, rtol=0, atol=1e-9)
    for name, value in space["parameters"].items():
        np.testing.assert_allclose(value, w[name], rtol=0, atol=1e-9, err_msg=name)
    if way == "train":
        assert len(space["names"]) == 20
        assert all(name.endswith(".") and name.count(".") == 1 for name in space["names"])


def test_a_letter_at_the_end_of_many_names_is_no_end_mark() -> None:
    names = ["emily", "kelly", "billy", "holly", "ann..", "molly"]
    ids = np.array([[ord(c) for c in name] for name in names], np.int32).T
    assert chr(end_mark(ids)) == "."
    assert lengths_of(ids, end_mark(ids)).tolist() == [4, 4, 4, 4, 3, 4]
    for unpadded in (("anna", "noah", "alan"), ("anna", "nana")):
        ids = np.array([[ord(c) for c in name] for name in unpadded], np.int32).T
        assert lengths_of(ids, end_mark(ids)).tolist() == [3] * len(unpadded)


def test_an_end_is_found_in_any_array_of_names() -> None:
    """Any names, widths and vocabularies: what is no padding counts, and one mark after it where there is room."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        vocab = rng.permutation(list(".abcd"))
        names = ["".join(rng.choice(list("abcd"), rng.integers(1, 8))) for _ in range(30)]
        width = max(map(len, names)) + int(rng.integers(-1, 2))
        ids = np.array(
            [[vocab.tolist().index(c) for c in name.ljust(width, ".")[:width]] for name in names]
        ).T
        expected = [min(len(name) + 1, width) - 1 for name in names]
        assert vocab[end_mark(ids)] == "."
        assert lengths_of(ids, end_mark(ids)).tolist() == [max(n, 1) for n in expected]
