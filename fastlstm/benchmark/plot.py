"""A benchmark's JSON as a bar chart: how many times as fast as each peer ours is."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from fastlstm.benchmark.report import figure
from fastlstm.errors import FastLSTMError

TITLES = {
    "training": "Training step",
    "forward": "Forward pass",
    "sample": "Sampling",
    "module": "LSTM layer inside PyTorch, forward + backward",
}
NAMES = {
    "loop": "Python loop (NumPy)",
    "numpy": "vectorised NumPy",
    "torch": "PyTorch",
    "jax": "JAX",
    "onnxruntime": "ONNX Runtime",
}
COLOURS = {
    "loop": "#b9a7d6",
    "numpy": "#e0b13c",
    "torch": "#e4572e",
    "jax": "#5a7bd8",
    "onnxruntime": "#7d8b99",
}


FORMATS = (".png", ".svg", ".pdf")


def check(path: Path) -> None:
    """Raise FastLSTMError where `plot` couldn't write to `path`: before hours of measuring, not after."""
    if importlib.util.find_spec("matplotlib") is None:
        raise FastLSTMError("a plot needs matplotlib: pip install 'fastlstm[plot]'")
    if path.suffix not in FORMATS:
        raise FastLSTMError(f"{path}: a plot's file name must end in {', '.join(FORMATS)}")


def plot(data: dict[str, Any], path: Path) -> None:
    """Draw the chart of `fastlstm bench --json`'s content. Raises FastLSTMError as `check` does."""
    check(path)
    from matplotlib.figure import Figure

    jobs: dict[str, list[dict[str, Any]]] = {}
    for measurement in data["measurements"]:
        if measurement["best"]:
            jobs.setdefault(measurement["job"], []).append(measurement)
    if not jobs:
        raise FastLSTMError("there is nothing to plot: no peer was timed")
    bars = [sum(len(m["best"]) + 1 for m in group) for group in jobs.values()]
    chart = Figure(figsize=(9, 1.6 + 0.9 * len(jobs) + 0.26 * sum(bars)), layout="constrained")
    axes = chart.subplots(len(jobs), 1, squeeze=False, height_ratios=bars)[:, 0]
    for axis, (job, group) in zip(axes, jobs.items(), strict=True):
        panel(axis, job, group)
    machine = data["machine"]
    chart.suptitle("How many times as fast fastlstm is", fontsize=14, fontweight="bold")
    versions = ", ".join(f"{p} {v}" for p, v in machine["versions"].items() if p in COLOURS)
    threads = data["settings"]["threads"]
    axes[-1].set_xlabel(
        "right of the line fastlstm is faster, left of it slower; each peer at its best\n"
        f"{machine['cpu']}, {threads} thread{'s' if threads > 1 else ''}, float32; {versions}"
    )
    chart.savefig(path, dpi=150)


def panel(axis: Any, job: str, group: list[dict[str, Any]]) -> None:
    """The bars of one job, on a scale where twice and half as fast are equally far from the line."""
    y, ticks, seen = 0.0, [], set()
    largest, least = 2.0, 1.0
    for measurement in group:
        top = y
        for peer, best in measurement["best"].items():
            median, low, high = best["ratio"]
            label = None if peer in seen else NAMES[peer]
            axis.barh(y, median - 1, left=1, height=0.8, color=COLOURS[peer], label=label)
            axis.plot([low, high], [y, y], color="#222222", linewidth=1)
            axis.text(max(high, 1) * 1.04, y, f"{figure(median)}×", va="center", fontsize=9)
            seen.add(peer)
            largest, least = max(largest, high), min(least, low)
            y += 1
        ticks.append(((top + y - 1) / 2, measurement["shape"]["name"]))
        y += 1
    axis.set_xscale("log", base=2)
    left, right = np.floor(np.log2(least) - 0.2), np.ceil(np.log2(largest * 1.4))
    marks = 2.0 ** np.arange(left, right + 1)
    axis.set_xlim(marks[0], marks[-1])
    axis.set_xticks(marks, [f"{mark:g}×" for mark in marks])
    axis.set_yticks([place for place, _ in ticks], [name for _, name in ticks])
    axis.invert_yaxis()
    axis.axvline(1, color="#222222", linewidth=1)
    axis.set_title(TITLES[job], loc="left", fontsize=11)
    axis.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(seen), fontsize=9, frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
