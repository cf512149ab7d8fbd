"""names: the first 10,000 names of a CSV, embedding 100, hidden 256, batches of 20, 8,001 steps.

The functions pass dictionaries of the notebook's own arrays, input first and without biases: `fgw igw ogw
ggw` (E+H, H) and `how` (H, V). They are turned into the engine's layout at each call, by `train` once. A
batch is a list of one-hot matrices (B, V), one a character: step t reads the t-th and predicts the next.

Letters: T steps, B names in a batch, V characters, E embedding size, H hidden size, N real targets.

The notebook did not run. Done right here: gradients are summed over the steps and flow back through both
recurrent paths, and the padding after a name's end mark counts neither in the loss nor in any gradient.

>>> import numpy as np
>>> from fastlstm.notebooks.names import forward_propagation, initialize_parameters
>>> parameters = initialize_parameters(input_units=3, hidden_units=4, output_units=2)
>>> batches = [np.eye(2)[[0, 1]], np.eye(2)[[0, 0]]]
>>> forward_propagation(batches, parameters, np.zeros((2, 3)))[4]["o1"].tolist()
[[0.5, 0.5], [0.5, 0.5]]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fastlstm.errors import FastLSTMError
from fastlstm.network.lstm import lstm_backward, lstm_step, pack
from fastlstm.notebooks.cell import Steps, Trace, draw, sigmoid, softmax
from fastlstm.notebooks.names_training import (
    EPSILON,
    Arrays,
    Trainer,
    end_mark,
    fuse,
    ids_of,
    real,
    scores,
    split,
)

__all__ = [
    "backward_propagation", "cal_loss_accuracy", "forward_propagation", "get_embeddings", "initialize_S",
    "initialize_V", "initialize_parameters", "lstm_cell", "output_cell", "predict", "train",
    "update_embedding", "update_embeddings", "update_parameters",
]  # fmt: skip

LONGEST = 1000  # a drawn name is ended here: a poor network may never draw the end mark


def initialize_parameters(
    *,
    input_units: int = 100,
    hidden_units: int = 256,
    output_units: int = 27,
    dtype: str = "float64",
    rng: Any = None,
) -> Arrays:
    """Normal(0, 0.01) weights `fgw igw ogw ggw` (E+H, H) and `how` (H, V), drawn in this order."""
    rng = np.random if rng is None else rng
    gate = (input_units + hidden_units, hidden_units)
    shapes = {"fgw": gate, "igw": gate, "ogw": gate, "ggw": gate, "how": (hidden_units, output_units)}
    return {name: rng.normal(0, 0.01, shape).astype(dtype) for name, shape in shapes.items()}


def get_embeddings(batch_dataset: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    """The embeddings (B, E) of one-hot rows (B, V)."""
    return np.matmul(batch_dataset, embeddings)


def lstm_cell(
    batch_dataset: np.ndarray,
    prev_activation_matrix: np.ndarray,
    prev_cell_matrix: np.ndarray,
    parameters: Mapping[str, np.ndarray],
) -> tuple[Arrays, np.ndarray, np.ndarray]:
    """One step on embeddings (B, E): the gates `fa ia oa ga`, the new cell and activation matrices (B, H)."""
    z = np.concatenate([batch_dataset, prev_activation_matrix], axis=1)
    gates = {f"{letter}a": sigmoid(z @ parameters[f"{letter}gw"]) for letter in "fio"}
    gates["ga"] = np.tanh(z @ parameters["ggw"])
    c = gates["fa"] * prev_cell_matrix + gates["ia"] * gates["ga"]
    return gates, c, gates["oa"] * np.tanh(c)


def output_cell(activation_matrix: np.ndarray, parameters: Mapping[str, np.ndarray]) -> np.ndarray:
    """Probabilities (B, V) after activations (B, H)."""
    return softmax(np.matmul(activation_matrix, parameters["how"]))


def forward_propagation(
    batches: Sequence[np.ndarray], parameters: Mapping[str, np.ndarray], embeddings: np.ndarray
) -> tuple[Steps, Steps, Steps, Steps, Steps]:
    """The caches of all T steps, made when read: embeddings `emb0`…, gates `lstm1`…, activations `a0`…, cells
    `c0`… and probabilities `o1`…; `a0` and `c0` are the zero states at the start.
    """
    x = np.stack(batches[:-1]).astype(embeddings.dtype) @ embeddings
    trace = _trace(x, parameters)
    p = softmax(trace.out @ parameters["how"])
    T = len(x)

    def cache(prefix: str, first: int, value: Callable[[int], Any]) -> Steps:
        count = T + 1 if prefix in "ac" else T
        return Steps([f"{prefix}{first + n}" for n in range(count)], value, trace)

    def gates(t: int) -> Arrays:
        i, f, g, o = trace.gates[:, t]
        return {"fa": f, "ia": i, "oa": o, "ga": g}

    return (
        cache("emb", 0, lambda t: x[t]),
        cache("lstm", 1, gates),
        cache("a", 0, lambda t: trace.hidden[t]),
        cache("c", 0, lambda t: trace.cells[t]),
        cache("o", 1, lambda t: p[t]),
    )


def cal_loss_accuracy(
    batch_labels: Sequence[np.ndarray], output_cache: Mapping[str, np.ndarray]
) -> tuple[float, float, float]:
    """Perplexity, loss and accuracy of a batch over its real targets.

    Perplexity is the mean over names of (1/Πp)^(1/T), T a name's own length; the loss is
    −Σ[y log p + (1−y) log(1−p)] over classes and steps, divided by the names; accuracy is by argmax.
    """
    ids = ids_of(batch_labels)
    mask, names, targets = real(ids, end_mark(ids))
    p = np.stack([output_cache[f"o{t}"] for t in range(1, len(ids))])[mask]
    hits, each = int((p.argmax(axis=1) == targets).sum()), np.arange(len(p))
    losses = -np.log(p[each, targets])
    p[each, targets] = 0
    return scores(losses, p, hits, names)


def backward_propagation(
    batch_labels: Sequence[np.ndarray],
    embedding_cache: Mapping[str, np.ndarray],
    lstm_cache: Mapping[str, Arrays],
    activation_cache: Mapping[str, np.ndarray],
    cell_cache: Mapping[str, np.ndarray],
    output_cache: Mapping[str, np.ndarray],
    parameters: Mapping[str, np.ndarray],
) -> tuple[Arrays, Arrays]:
    """Derivatives `dfgw digw dogw dggw dhow`, a name's mean, and the embeddings' errors `eemb0`… (B, E)."""
    ids = ids_of(batch_labels)
    T, B = len(ids) - 1, ids.shape[1]
    mask, names, targets = real(ids, end_mark(ids))
    trace = activation_cache.trace if isinstance(activation_cache, Steps) else None
    if trace is None:
        trace = _trace(np.stack([embedding_cache[f"emb{t}"] for t in range(T)]), parameters)
    d = np.stack([output_cache[f"o{t}"] for t in range(1, T + 1)]) * mask[..., None]
    d[np.nonzero(mask)[0], names, targets] -= 1
    layer = lstm_backward(d @ parameters["how"].T, trace.cache)
    derivatives = {f"d{name}": value / B for name, value in split(layer.W).items()}
    derivatives["dhow"] = np.einsum("tbh,tbv->hv", trace.out, d) / B
    return derivatives, {f"eemb{t}": error for t, error in enumerate(np.asarray(layer.x))}


def initialize_V(parameters: Mapping[str, np.ndarray]) -> Arrays:
    """Zero means of the derivatives, `vfgw` …, for each parameter."""
    return {f"v{name}": np.zeros_like(value) for name, value in parameters.items()}


def initialize_S(parameters: Mapping[str, np.ndarray]) -> Arrays:
    """Zero means of the squared derivatives, `sfgw` …, for each parameter."""
    return {f"s{name}": np.zeros_like(value) for name, value in parameters.items()}


def update_parameters(
    parameters: Arrays,
    derivatives: Mapping[str, np.ndarray],
    V: Arrays,
    S: Arrays,
    t: int,
    *,
    learning_rate: float = 0.005,
    beta1: float = 0.90,
    beta2: float = 0.99,
) -> tuple[Arrays, Arrays, Arrays]:
    """Adam as the notebook has it: no bias correction, ε = 1e-6 outside the root; `t` is not used."""
    for name in parameters:
        d = derivatives[f"d{name}"]
        V[f"v{name}"] = beta1 * V[f"v{name}"] + (1 - beta1) * d
        S[f"s{name}"] = beta2 * S[f"s{name}"] + (1 - beta2) * d**2
        step = V[f"v{name}"] / (np.sqrt(S[f"s{name}"]) + EPSILON)
        parameters[name] = parameters[name] - learning_rate * step
    return parameters, V, S


def update_embedding(
    embeddings: np.ndarray,
    embedding_error_cache: Mapping[str, np.ndarray],
    batch_labels: Sequence[np.ndarray],
    *,
    learning_rate: float = 0.005,
) -> np.ndarray:
    """Plain gradient descent on the embeddings (V, E), a name's mean."""
    steps = range(len(embedding_error_cache))
    d = sum(np.matmul(batch_labels[t].T, embedding_error_cache[f"eemb{t}"]) for t in steps)
    return embeddings - learning_rate * d / len(batch_labels[0])


update_embeddings = update_embedding  # the name by which the notebook calls it


def train(
    train_dataset: Sequence[Sequence[np.ndarray]],
    iters: int = 1000,
    batch_size: int = 20,
    *,
    input_units: int = 100,
    hidden_units: int = 256,
    learning_rate: float = 0.005,
    beta1: float = 0.90,
    beta2: float = 0.99,
    dtype: str = "float64",
    rng: Any = None,
) -> tuple[np.ndarray, Arrays, list[float], list[float], list[float]]:
    """`iters` steps, a batch each, in the data's order: embeddings, parameters, and each step's loss J,
    perplexity P and accuracy A. Every 1,000 steps they are printed. Parameters are drawn before embeddings;
    `batch_size` is not used: a batch is as large as it is.

    A name ends with its first end mark, which is the character that pads the names of the whole data set; a name
    that is as long as its columns has none, and no target for one.
    """
    data = [ids_of(batch) for batch in train_dataset]
    if not data or len({len(ids) for ids in data}) > 1:
        raise FastLSTMError("the batches must be at least one, all padded to the same length")
    mark = end_mark(np.concatenate(data, axis=1))
    V = train_dataset[0][0].shape[1]
    rng = np.random if rng is None else rng
    sizes = {"input_units": input_units, "hidden_units": hidden_units, "output_units": V}
    parameters = initialize_parameters(**sizes, dtype=dtype, rng=rng)
    embeddings = rng.normal(0, 0.01, (V, input_units)).astype(dtype)
    trainer = Trainer(parameters, embeddings, beta1, beta2)
    J, P, A = [], [], []
    for step in range(iters):
        perplexity, loss, accuracy = trainer.step(data[step % len(data)], mark, learning_rate)
        J.append(loss)
        P.append(perplexity)
        A.append(accuracy)
        if step % 1000 == 0:
            print(f"For Single Batch :\nStep       = {step}\nLoss       = {round(loss, 2)}")
            print(
                f"Perplexity = {round(perplexity, 2)}\nAccuracy   = {round(accuracy * 100, 2)}\n", flush=True
            )
    return trainer.network.parameters["embedding"].copy(), trainer.parameters(), J, P, A


def predict(
    parameters: Mapping[str, np.ndarray],
    embeddings: np.ndarray,
    id_char: Mapping[int, str],
    vocab_size: int,
    *,
    rng: Any = None,
) -> list[str]:
    """20 names, each begun with any one of the characters and drawn until `.`, which ends it.

    A name that has 1,000 characters is ended there.
    """
    rng = np.random if rng is None else rng
    weights, how = pack(fuse(parameters)), parameters["how"]
    embeddings = embeddings.astype(how.dtype)
    zero = np.zeros((1, len(how)), how.dtype)
    names = []
    for _ in range(20):
        n = int(rng.integers(vocab_size) if hasattr(rng, "integers") else rng.randint(vocab_size))
        name, h, c = id_char[n], zero, zero
        while not name.endswith("."):
            h, c = lstm_step(embeddings[n : n + 1], h, c, weights)
            n = int(draw(softmax(h @ how), rng)[0])
            name += id_char[n] if len(name) < LONGEST else "."
        names.append(name)
    return names


def _trace(x: np.ndarray, parameters: Mapping[str, np.ndarray]) -> Trace:
    """A forward pass over embeddings (T, B, E) from zero states."""
    W = fuse(parameters)
    zero = np.zeros((x.shape[1], len(W) // 4), W.dtype)
    return Trace(x.astype(W.dtype), W, None, zero, zero)
