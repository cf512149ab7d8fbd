"""What a benchmark found, as tables for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from fastlstm.benchmark import limits, machine
from fastlstm.benchmark.run import Measurement, Row, Settings

JOBS = {
    "training": "a training step: forward, loss, backward, Adam",
    "forward": "forward only: the logits of every position",
    "sample": "sampling: characters drawn",
    "module": "the layer in PyTorch, forward + backward unless it says otherwise",
}


def figure(x: float) -> str:
    """Three significant digits, and no exponent.

    >>> figure(0.12345), figure(12.345), figure(12345)
    ('0.123', '12.3', '12,345')
    """
    return f"{x:,.0f}" if x >= 100 else f"{x:#.3g}"


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of texts in columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *rest in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(rest, widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def table(measurement: Measurement) -> str:
    """One shape and job: a line for each variant, ours first."""
    shape, job = measurement.shape, measurement.job
    counted = job in ("training", "forward")
    work = ["GFLOP/s", "of peak"] if counted else []
    rows = [["", "ms", "characters/s", *work, "fastlstm is", "middle half"]]
    for row in measurement.rows:
        if row.problem:
            continue
        label = row.variant.label + ("" if row.variant.exact else " (inexact)")
        cells = [label, figure(1e3 * row.seconds), f"{row.characters:,.0f}"]
        if counted:
            share = row.flops / measurement.fma_peak[row.variant.threads]
            cells += [figure(row.flops / 1e9), f"{share:.0%}"]
        rows.append([*cells, *speedup(row)])
    problems = [f"{row.variant.label}: {row.problem}" for row in measurement.rows if row.problem]
    title = f"{shape.name}, {JOBS[job]} ({shape.sizes}: {shape.about})"
    return "\n".join([title, *([columns(rows)] if len(rows) > 1 else []), *problems])


def speedup(row: Row) -> tuple[str, str]:
    if row.ratio is None:
        return "", ""
    median, low, high = row.ratio
    return f"{median:.2f} ×", f"{low:.2f}–{high:.2f}"


def summary(measurements: Sequence[Measurement]) -> str:
    """Of each shape, how many times as fast as each peer at its best ours is."""
    peers = list(dict.fromkeys(peer for m in measurements for peer in m.best()))
    rows = [["How many times as fast as each peer at its best", *peers]]
    for m in measurements:
        best = m.best()
        cells = [speedup(best[peer])[0] if peer in best else "–" for peer in peers]
        rows.append([f"{m.shape.name}, {m.job}", *cells])
    return columns(rows)


def starts(found: Sequence[dict[str, Any]]) -> str:
    """Fresh processes: time to the first step, and memory."""
    rows = [["A fresh process, training", "first step after, s", "peak MB", "of it beyond the libraries"]]
    for one in found:
        if "problem" in one:
            continue  # the tables before this one name it
        sizes = (f"{one[key] / 1e6:,.0f}" for key in ("peak", "beyond_libraries"))
        rows.append([f"{one['shape']}: {one['label']}", figure(one["first_step"]), *sizes])
    return columns(rows)


def hardware(threads: int) -> dict[str, Any]:
    """The machine with its measured limits for 1 and `threads` cores: operations and bytes a second."""
    counts = sorted({1, threads})
    return machine.describe() | {
        "fma_peak": {n: limits.fma_peak(n) for n in counts},
        "read_matrix": {n: limits.read_bandwidth(n, limits.MATRIX) for n in counts},
        "read_memory": {n: limits.read_bandwidth(n, limits.MEMORY) for n in counts},
    }


def heading(found: dict[str, Any]) -> str:
    """The machine in a few lines, and a warning where its cores were not all there."""
    versions = ", ".join(f"{package} {version}" for package, version in found["versions"].items())
    changes = " with changes" if found["modified"] else ""
    commit = f", commit {found['commit'][:10]}{changes}" if found["commit"] else ""
    system = f"{found['cpu']}, {found['cores']} cores, {found['system']}, Python {found['python']}"
    lines = [system + commit, versions]
    for n, peak in found["fma_peak"].items():
        matrix, memory = (found[key][n] / 1e9 for key in ("read_matrix", "read_memory"))
        lines.append(
            f"{n} core{'s' if n > 1 else ''}: {peak / 1e9:.0f} GFLOP/s of f32 FMA from registers, reading "
            f"{matrix:.0f} GB/s of a 16 MB matrix, {memory:.0f} GB/s of memory"
        )
    peaks = list(found["fma_peak"].items())
    (_, one), (count, every) = peaks[0], peaks[-1]
    if every < 0.75 * count * one:
        lines.append(
            f"{count} cores together reach {every / one:.2f} times one core's peak: they are not free, "
            f"and figures of {count} threads mean little"
        )
    return "\n".join(lines)


def document(
    settings: Settings,
    found: dict[str, Any],
    measurements: Sequence[Measurement],
    fresh: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """Everything, fit for JSON."""
    return {
        "machine": found,
        "settings": asdict(settings) | {"block_seconds": settings.seconds, "rounds": settings.rounds},
        "measurements": [measurement.as_dict() for measurement in measurements],
        "starts": list(fresh),
    }
