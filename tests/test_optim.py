"""Clipping and optimisers on the flat buffer, against their formulas written out in float64."""

from __future__ import annotations

import copy
import re
from typing import Any

import numpy as np
import pytest

from fastlstm.engine.kernels.optimizer import PIECE
from fastlstm.engine.parameters import Parameters
from fastlstm.errors import FastLSTMError
from fastlstm.network.optim import Optimizer, OptimizerConfig

# Sizes that end within, on and after a piece of the buffer; the last name is a matrix, so it decays.
SHAPES = {"embedding": (3, 2), "lstm.0.b": (PIECE + 1,), "h0": (1, 16), "head.W": (5, PIECE // 5 * 2)}
STEPS = 100

CONFIGS = {
    "sgd": OptimizerConfig("sgd"),
    "momentum": OptimizerConfig("sgd", momentum=0.9),
    "adam": OptimizerConfig("adam"),
    "adam, other betas": OptimizerConfig("adam", beta1=0.5, beta2=0.9, epsilon=1e-3),
    "adam, uncorrected": OptimizerConfig("adam", bias_correction=False),
    "adamw": OptimizerConfig("adamw", weight_decay=0.05),
    "clip by value": OptimizerConfig("adam", clip_value=0.5),
    "clip by norm": OptimizerConfig("adamw", weight_decay=0.01, clip_norm=3.0),
    "averaged": OptimizerConfig("adamw", weight_decay=0.05, average=0.1),
    "clip by both": OptimizerConfig("sgd", momentum=0.5, clip_value=0.7, clip_norm=3.0),
}


def filled(rng: np.random.Generator, dtype: str, scale: float = 1.0) -> Parameters:
    parameters = Parameters(SHAPES, dtype)
    for _, view in parameters.items():
        view[...] = scale * rng.normal(size=view.shape)
    return parameters


class Formula:
    """The same optimiser on one array at a time."""

    def __init__(self, parameters: Parameters, config: OptimizerConfig) -> None:
        self.config, self.steps = config, 0
        self.p = {name: view.astype(np.float64) for name, view in parameters.items()}
        self.average = {name: view.copy() for name, view in self.p.items()}
        self.m, self.v = ({name: np.zeros(view.shape) for name, view in self.p.items()} for _ in "mv")

    def update(self, gradients: Parameters, rate: float) -> float:
        c = self.config
        self.steps += 1
        g = {name: view.astype(np.float64) for name, view in gradients.items()}
        if c.clip_value:
            g = {name: np.clip(view, -c.clip_value, c.clip_value) for name, view in g.items()}
        norm = np.sqrt(sum((view**2).sum() for view in g.values()))
        factor = min(1, c.clip_norm / (norm + 1e-6)) if c.clip_norm else 1
        for name, gradient in g.items():
            gradient = gradient * factor
            if name.endswith(".W"):
                self.p[name] *= 1 - rate * c.weight_decay
            if c.kind == "sgd":
                self.m[name] = c.momentum * self.m[name] + gradient
                self.p[name] -= rate * self.m[name]
                continue
            self.m[name] = c.beta1 * self.m[name] + (1 - c.beta1) * gradient
            self.v[name] = c.beta2 * self.v[name] + (1 - c.beta2) * gradient**2
            mean, root = self.m[name], np.sqrt(self.v[name])
            if c.bias_correction:
                mean = mean / (1 - c.beta1**self.steps)
                root = root / np.sqrt(1 - c.beta2**self.steps)
            self.p[name] -= rate * mean / (root + c.epsilon)
            weight = min(1, 1 / (c.average * self.steps)) if c.average else 1
            self.average[name] += weight * (self.p[name] - self.average[name])
        return norm


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_a_hundred_steps(config: OptimizerConfig, dtype: str) -> None:
    rng = np.random.default_rng(0)
    parameters = filled(rng, dtype)
    optimizer, formula = Optimizer(parameters, config), Formula(parameters, config)
    tolerance = 2e-5 if dtype == "float32" else 1e-12
    for step in range(STEPS):
        gradients = filled(rng, dtype, scale=0.02 if step % 3 else 1)
        rate = 0.01 / (1 + step / 10)
        norm = formula.update(gradients, rate)
        assert optimizer.update(gradients, rate) == pytest.approx(norm, rel=tolerance)
    for name, view in parameters.items():
        np.testing.assert_allclose(view, formula.p[name], rtol=0, atol=tolerance, err_msg=name)
        if optimizer.average:
            mean = optimizer.average[name]
            np.testing.assert_allclose(mean, formula.average[name], rtol=0, atol=tolerance, err_msg=name)
            assert np.abs(mean - view).max() > 50 * tolerance
    assert optimizer.steps == STEPS


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_gaps_stay_zero(config: OptimizerConfig) -> None:
    rng = np.random.default_rng(0)
    parameters, gradients = filled(rng, "float32"), filled(rng, "float32")
    inside = Parameters(SHAPES, "float32")
    for _, view in inside.items():
        view[...] = 1
    optimizer = Optimizer(parameters, config)
    for _ in range(3):
        optimizer.update(gradients, 0.1)
    for buffer in (parameters, gradients, *optimizer.buffers):
        assert not buffer.flat[inside.flat == 0].any()
        assert buffer.flat[inside.flat == 1].all()


@pytest.mark.parametrize("limit", [1.0, 1e-4, 1e-7])
def test_a_clipped_norm_is_the_limit(limit: float) -> None:
    rng = np.random.default_rng(0)
    parameters, gradients = filled(rng, "float64"), filled(rng, "float64", 1e-4)
    before = parameters.flat.copy()
    optimizer = Optimizer(parameters, OptimizerConfig("sgd", clip_norm=limit))
    norm = optimizer.update(gradients, 1.0)
    moved = np.linalg.norm(parameters.flat - before)
    assert moved == pytest.approx(norm * min(1, limit / (norm + 1e-6)), rel=1e-9)


def test_clipping_by_value_is_done_in_the_gradients() -> None:
    rng = np.random.default_rng(0)
    parameters, gradients = filled(rng, "float64"), filled(rng, "float64")
    clipped = np.clip(gradients.flat, -0.3, 0.3)
    norm = Optimizer(parameters, OptimizerConfig("sgd", clip_value=0.3)).update(gradients, 0.1)
    assert np.array_equal(gradients.flat, clipped)
    assert norm == pytest.approx(np.linalg.norm(clipped), rel=1e-12)


NOT_FINITE = [(name, np.nan) for name in CONFIGS]
# Clipped by value, what is infinite is finite.
NOT_FINITE += [(name, np.inf) for name, config in CONFIGS.items() if not config.clip_value]


@pytest.mark.parametrize(("name", "bad"), NOT_FINITE)
def test_a_gradient_that_is_not_finite_changes_nothing(name: str, bad: float) -> None:
    config = CONFIGS[name]
    rng = np.random.default_rng(0)
    parameters = filled(rng, "float32")
    optimizer = Optimizer(parameters, config)
    optimizer.update(filled(rng, "float32"), 0.1)
    buffers = (parameters, *optimizer.moments.values())
    before = [buffer.flat.copy() for buffer in buffers]
    gradients = filled(rng, "float32")
    gradients["head.W"][4, -1] = bad
    assert not np.isfinite(optimizer.update(gradients, 0.1))
    for buffer, values in zip(buffers, before, strict=True):
        assert np.array_equal(buffer.flat, values)
    assert optimizer.steps == 1


def test_weight_decay_pulls_on_matrices_or_on_what_is_named() -> None:
    rng = np.random.default_rng(0)
    config = OptimizerConfig("adamw", weight_decay=0.5)
    for decays, pulled in ((None, {"head.W"}), (["h0", "embedding"], {"h0", "embedding"}), ([], set())):
        parameters = filled(rng, "float64")
        before = {name: view.copy() for name, view in parameters.items()}
        Optimizer(parameters, config, decays).update(parameters.like(), 0.1)
        for name, view in parameters.items():
            factor = 0.95 if name in pulled else 1
            np.testing.assert_allclose(view, factor * before[name], rtol=1e-15, err_msg=name)


def test_parameters_apart_follow_their_own_configuration() -> None:
    """Each as an optimiser of its own would move it; what has none stays, and counts in no norm."""
    rng = np.random.default_rng(0)
    config = OptimizerConfig("adam", clip_value=0.5)
    apart = {"embedding": OptimizerConfig("sgd", momentum=0.5), "h0": None,
             "head.W": OptimizerConfig("adamw", weight_decay=0.1, bias_correction=False)}  # fmt: skip
    parameters = filled(rng, "float64")
    before = parameters.copy()
    formulas = {name: Formula(parameters, c) for name, c in apart.items() if c}
    optimizer, others = Optimizer(parameters, config, apart=apart), Formula(parameters, config)
    for _ in range(5):
        gradients = filled(rng, "float64")
        for formula in (others, *formulas.values()):
            formula.update(gradients, 0.01)
        still = gradients.copy()
        norm = optimizer.update(gradients, 0.01)
        assert np.array_equal(gradients["h0"], still["h0"])
        assert norm == pytest.approx(
            np.linalg.norm([np.linalg.norm(g) for name, g in gradients.items() if name != "h0"])
        )
    assert np.array_equal(parameters["h0"], before["h0"])
    for name in ("embedding", "lstm.0.b", "head.W"):
        expected = formulas.get(name, others).p[name]
        np.testing.assert_allclose(parameters[name], expected, rtol=0, atol=1e-12, err_msg=name)


def test_a_copy_of_parameters_and_optimizer_stands_alone() -> None:
    rng = np.random.default_rng(0)
    parameters, gradients = filled(rng, "float32"), filled(rng, "float32")
    optimizer = Optimizer(parameters)
    optimizer.update(gradients, 0.1)
    twin, other = copy.deepcopy((parameters, optimizer))
    assert other.parameters is twin
    before = parameters.flat.copy()
    other.update(gradients, 0.1)
    assert np.array_equal(parameters.flat, before)
    optimizer.update(gradients, 0.1)
    for name, view in parameters.items():
        assert np.array_equal(twin[name], view)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "lion"}, "optimizer is 'lion'; it must be sgd, adam or adamw"),
        ({"weight_decay": 0.1}, "weight decay with adam: choose adamw"),
        ({"momentum": 0.9}, "momentum with adam: it is an option of sgd"),
        ({"kind": "adamw", "weight_decay": -0.1}, "weight_decay is -0.1; it must not be negative"),
        ({"clip_value": -1.0}, "clip_value is -1.0; it must not be negative"),
        ({"clip_norm": float("nan")}, "clip_norm is nan; it must not be negative"),
        ({"epsilon": 0.0}, "epsilon is 0.0; it must be positive"),
        ({"kind": "sgd", "momentum": 1.0}, "momentum is 1.0; it must be at least 0 and below 1"),
        ({"beta1": -0.1}, "beta1 is -0.1; it must be at least 0 and below 1"),
        ({"beta2": 1.0}, "beta2 is 1.0; it must be at least 0 and below 1"),
    ],
)
def test_impossible_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(FastLSTMError, match=re.escape(message)):
        OptimizerConfig(**options)


def test_other_gradients_are_refused() -> None:
    parameters = Parameters(SHAPES, "float32")
    optimizer = Optimizer(parameters)
    for gradients in (Parameters(SHAPES, "float64"), Parameters({"W": (2, 2)}, "float32")):
        with pytest.raises(FastLSTMError, match=re.escape("make them with parameters.like()")):
            optimizer.update(gradients, 0.1)
    assert optimizer.steps == 0
