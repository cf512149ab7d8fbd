"""Ten training steps whose losses are stored: any change of what training computes shows here.

Weights and data come from formulas, so that no random generator stands between the numbers and the code.
"""

from __future__ import annotations

import numpy as np

from fastlstm.network import reference
from fastlstm.network.architecture import Architecture
from fastlstm.network.model import Network
from fastlstm.network.optim import Optimizer, OptimizerConfig

ARCHITECTURE = Architecture(
    vocabulary=7, hidden=5, embedding=3, layers=2, learned_state=True, forget_bias=0.0, dtype="float64"
)
# The gradients' norm falls from 0.45 to 0.16: the clip is on for six of the ten steps.
CONFIG = OptimizerConfig(kind="adamw", weight_decay=0.1, clip_norm=0.25)
RATE = 0.05
LENGTHS = np.array([6, 5, 2, 1], np.int32)
IDS = (np.arange(24, dtype=np.int32).reshape(6, 4) ** 2 % 7).astype(np.int32)
TARGETS = np.roll(IDS, -1, axis=0)
LOSSES = [
    2.080855012466, 1.957498651531, 1.865590877677, 1.797678789471, 1.743015373433,
    1.691547665624, 1.641265097989, 1.593967507551, 1.550927354201, 1.511655748371,
]  # fmt: skip


def start(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Initial values that look random, differ from name to name and are the same everywhere."""
    phase = sum(map(ord, name))
    return 0.6 * np.sin(phase + 1.7 * np.arange(int(np.prod(shape)))).reshape(shape)


def test_network_reproduces_the_stored_losses() -> None:
    network = Network(ARCHITECTURE)
    for name, view in network.parameters.items():
        view[...] = start(name, view.shape)
    optimizer = Optimizer(network.parameters, CONFIG)
    losses = [network.step(IDS, TARGETS, optimizer, RATE, LENGTHS)[0].loss for _ in LOSSES]
    np.testing.assert_allclose(losses, LOSSES, rtol=0, atol=1e-9)


def test_reference_reproduces_the_stored_losses() -> None:
    """The oracle's gradients with AdamW written out; decay pulls on the weight matrices alone."""
    parameters = {name: start(name, shape) for name, shape in ARCHITECTURE.shapes().items()}
    m, v = ({name: np.zeros_like(value) for name, value in parameters.items()} for _ in "mv")
    losses = []
    for step in range(1, len(LOSSES) + 1):
        result = reference.loss_and_gradients(parameters, IDS, TARGETS, LENGTHS)
        losses.append(result.loss)
        norm = np.sqrt(sum((gradient**2).sum() for gradient in result.gradients.values()))
        for name, gradient in result.gradients.items():
            gradient = gradient * min(1.0, CONFIG.clip_norm / (norm + 1e-6))
            m[name] = CONFIG.beta1 * m[name] + (1 - CONFIG.beta1) * gradient
            v[name] = CONFIG.beta2 * v[name] + (1 - CONFIG.beta2) * gradient**2
            m_hat, v_hat = m[name] / (1 - CONFIG.beta1**step), v[name] / (1 - CONFIG.beta2**step)
            if name.endswith(".W"):
                parameters[name] *= 1 - RATE * CONFIG.weight_decay
            parameters[name] -= RATE * m_hat / (np.sqrt(v_hat) + CONFIG.epsilon)
    np.testing.assert_allclose(losses, LOSSES, rtol=0, atol=1e-9)
