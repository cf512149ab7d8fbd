"""The notebooks' intended mathematics in plain NumPy float64, from their formulas, their mistakes put right.

Nothing of fastlstm is used here. Weights carry the names of zoo-A: `wf` (H, H+V) and `bf` (H, 1) and so on
for the gates f, i, c, o, and `wy` (V, H), `by` (V, 1); every vector is a column.
"""

from __future__ import annotations

import numpy as np

GATES = "fico"
Weights = dict[str, np.ndarray]


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


def softmax(a: np.ndarray) -> np.ndarray:
    e = np.exp(a - a.max())
    return e / e.sum()


def column(n: int, size: int) -> np.ndarray:
    out = np.zeros((size, 1))
    out[n] = 1
    return out


def sequence_gradients(
    w: Weights, ids: list[int], targets: list[int], h: np.ndarray, c: np.ndarray
) -> tuple[list[float], Weights, np.ndarray, np.ndarray]:
    """Each step's cross-entropy, the gradients summed over the steps, and the final states."""
    V, H = w["wy"].shape
    steps, losses = [], []
    for n, target in zip(ids, targets, strict=True):
        z = np.concatenate([h, column(n, V)])
        f, i, o = (sigmoid(w["w" + gate] @ z + w["b" + gate]) for gate in "fio")
        g = np.tanh(w["wc"] @ z + w["bc"])
        c_before, c = c, f * c + i * g
        h = o * np.tanh(c)
        p = softmax(w["wy"] @ h + w["by"])
        losses.append(-float(np.log(p[target, 0])))
        steps.append((z, f, i, g, o, c_before, c, h, p - column(target, V)))
    d = {name: np.zeros_like(value) for name, value in w.items()}
    dh, dc = np.zeros((H, 1)), np.zeros((H, 1))
    for z, f, i, g, o, c_before, c_after, h_after, dy in reversed(steps):
        d["wy"] += dy @ h_after.T
        d["by"] += dy
        dh = dh + w["wy"].T @ dy
        dc = dc + dh * o * (1 - np.tanh(c_after) ** 2)
        into = {
            "f": dc * c_before * f * (1 - f),
            "i": dc * g * i * (1 - i),
            "c": dc * i * (1 - g * g),
            "o": dh * np.tanh(c_after) * o * (1 - o),
        }
        dz = np.zeros_like(z)
        for gate in GATES:
            d["w" + gate] += into[gate] @ z.T
            d["b" + gate] += into[gate]
            dz += w["w" + gate].T @ into[gate]
        dh, dc = dz[:H], dc * f
    return losses, d, h, c


def descend(w: Weights, ids: list[int], targets: list[int], rate: float, updates: int) -> list[float]:
    """Zoo and walkthrough: the whole text, gradients summed and clipped to ±1; each update's mean loss."""
    H = w["wy"].shape[1]
    history = []
    for _ in range(updates):
        losses, d, _, _ = sequence_gradients(w, ids, targets, np.zeros((H, 1)), np.zeros((H, 1)))
        for name in w:
            w[name] -= rate * np.clip(d[name], -1, 1)
        history.append(float(np.mean(losses)))
    return history


def adamw_windows(w: Weights, ids: list[int], T: int, rate: float, updates: int) -> list[float]:
    """kaggle: windows with carried state, AdamW with decay on everything; each window's summed loss."""
    H = w["wy"].shape[1]
    m = {name: np.zeros_like(value) for name, value in w.items()}
    v = {name: np.zeros_like(value) for name, value in w.items()}
    history, pointer = [], 0
    h = c = np.zeros((H, 1))
    for t in range(1, updates + 1):
        if pointer == 0:
            h = c = np.zeros((H, 1))
        window = ids[pointer : pointer + T + 1]
        pointer += T
        if pointer + T + 1 >= len(ids):
            pointer = 0
        losses, d, h, c = sequence_gradients(w, window[:-1], window[1:], h, c)
        history.append(sum(losses))
        for name in w:
            g = np.clip(d[name], -1, 1)
            m[name] = 0.9 * m[name] + 0.1 * g
            v[name] = 0.999 * v[name] + 0.001 * g * g
            m_hat, v_hat = m[name] / (1 - 0.9**t), v[name] / (1 - 0.999**t)
            w[name] -= rate * (m_hat / (np.sqrt(v_hat) + 1e-8) + 1e-4 * w[name])
        if (t - 1) % 1000 == 0:
            rate *= 0.99
    return history


def name_gradients(
    p: Weights, embeddings: np.ndarray, name: list[int]
) -> tuple[list[np.ndarray], Weights, np.ndarray]:
    """names, one name with its end mark: each step's probabilities (V,), gradients, embedding gradients.

    Input first, no biases, rows times matrices: `[x ; h] @ fgw`.
    """
    E, H = embeddings.shape[1], p["how"].shape[0]
    h, c = np.zeros(H), np.zeros(H)
    steps, probabilities = [], []
    for n in name[:-1]:
        z = np.concatenate([embeddings[n], h])
        f, i, o = (sigmoid(z @ p[gate]) for gate in ("fgw", "igw", "ogw"))
        g = np.tanh(z @ p["ggw"])
        c_before, c = c, f * c + i * g
        h = o * np.tanh(c)
        probabilities.append(softmax(h @ p["how"]))
        steps.append((z, f, i, g, o, c_before, c, h))
    d = {key: np.zeros_like(value) for key, value in p.items()}
    d_embeddings = np.zeros_like(embeddings)
    dh, dc = np.zeros(H), np.zeros(H)
    for t in reversed(range(len(steps))):
        z, f, i, g, o, c_before, c_after, h_after = steps[t]
        dy = probabilities[t].copy()
        dy[name[t + 1]] -= 1
        d["how"] += np.outer(h_after, dy)
        dh = dh + p["how"] @ dy
        dc = dc + dh * o * (1 - np.tanh(c_after) ** 2)
        into = {
            "fgw": dc * c_before * f * (1 - f),
            "igw": dc * g * i * (1 - i),
            "ggw": dc * i * (1 - g * g),
            "ogw": dh * np.tanh(c_after) * o * (1 - o),
        }
        dz = np.zeros_like(z)
        for key, value in into.items():
            d[key] += np.outer(z, value)
            dz += p[key] @ value
        d_embeddings[name[t]] += dz[:E]
        dh, dc = dz[E:], dc * f
    return probabilities, d, d_embeddings


def adam_names(
    p: Weights, embeddings: np.ndarray, batches: list[list[list[int]]], rate: float, updates: int
) -> tuple[np.ndarray, list[tuple[float, float, float]]]:
    """names: Adam without bias correction, SGD on the embeddings; each step's perplexity, loss, accuracy."""
    V = {key: np.zeros_like(value) for key, value in p.items()}
    S = {key: np.zeros_like(value) for key, value in p.items()}
    history = []
    for step in range(updates):
        batch = batches[step % len(batches)]
        d = {key: np.zeros_like(value) for key, value in p.items()}
        d_embeddings = np.zeros_like(embeddings)
        perplexities, loss, right, count = [], 0.0, 0, 0
        for name in batch:
            probabilities, d_name, d_rows = name_gradients(p, embeddings, name)
            product = 1.0
            for q, target in zip(probabilities, name[1:], strict=True):
                y = np.eye(len(q))[target]
                loss -= float((y * np.log(q) + (1 - y) * np.log(1 - q)).sum())
                product *= q[target]
                right += int(q.argmax() == target)
                count += 1
            perplexities.append((1 / product) ** (1 / len(probabilities)))
            d_embeddings += d_rows / len(batch)
            for key in d:
                d[key] += d_name[key] / len(batch)
        history.append((float(np.mean(perplexities)), loss / len(batch), right / count))
        for key in p:
            V[key] = 0.90 * V[key] + 0.10 * d[key]
            S[key] = 0.99 * S[key] + 0.01 * d[key] ** 2
            p[key] = p[key] - rate * V[key] / (np.sqrt(S[key]) + 1e-6)
        embeddings = embeddings - rate * d_embeddings
    return embeddings, history
