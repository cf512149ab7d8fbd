"""The peers: which of them are installed, and in which variants each is measured at its best.

A peer is a module with a `Peer`, a `Driver`; it runs in a process of its own, `fastlstm.benchmark.worker`.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from fastlstm.benchmark.shapes import Shape
from fastlstm.errors import FastLSTMError

OURS = "fastlstm"
TRUTH = "float64"
"""The mode of the variant that is every other one's truth."""
JOBS = {
    "training": ("loop", "numpy", "torch", "jax"),
    "forward": ("loop", "numpy", "torch", "jax", "onnxruntime"),
    "sample": ("torch",),
    "module": ("torch",),
}
"""What is measured, and who can do it beside us."""
NEEDS = {"torch": ("torch",), "jax": ("jax",), "onnxruntime": ("onnx", "onnxruntime")}
BFLOAT16 = "bf16"
"""The precision in which networks are trained and run forward by ours and, under autocast, by PyTorch."""
LOOP_SHAPES = ("notebook", "kaggle")
"""Where the loop is measured unless asked for: the sizes of the notebooks that are written so."""


@dataclass(frozen=True)
class Variant:
    """One way of running a peer; `exact` is False where it computes in less than float32."""

    peer: str
    threads: int
    mode: str = ""
    exact: bool = True

    @property
    def label(self) -> str:
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return ", ".join(filter(None, (self.peer, threads, self.mode)))

    def environment(self) -> dict[str, str]:
        """Environment variables that hold the variant's libraries to its threads."""
        count = str(self.threads)
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "FASTLSTM_NUM_THREADS")
        single = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        return dict.fromkeys(names, count) | ({"XLA_FLAGS": single} if self.threads == 1 else {})


def module_of(peer: str, job: str) -> str:
    """The module of this package whose `Peer` does a job as a peer does it."""
    return {"sample": f"sample_{peer}", "module": "module"}.get(job, f"{peer}_")


def ours(job: str, shape: Shape, threads: int, precision: str = "float32") -> Variant:
    """Ours as it does a job."""
    if precision == BFLOAT16:
        return Variant(OURS, threads, BFLOAT16, exact=False)
    modes = {"sample": "one at a time" if shape.B == 1 else "", "module": "packed" if shape.ragged else ""}
    return Variant(OURS, threads, modes.get(job, ""))


def truth(job: str, shape: Shape, threads: int) -> Variant:
    """Whose quantities everybody's must agree with: NumPy or PyTorch in float64; for drawn names, ours."""
    if job == "sample":
        return ours(job, shape, threads)
    return Variant("torch" if job == "module" else "numpy", threads, TRUTH)


def missing(peer: str) -> list[str]:
    """The packages that a peer needs and that are not installed."""
    return [package for package in NEEDS.get(peer, ()) if importlib.util.find_spec(package) is None]


def choose(job: str, asked: tuple[str, ...], quick: bool = False, precision: str = "float32") -> list[str]:
    """The peers to measure: those asked for, or all that are installed; `quick`: NumPy only where no other is.

    Raises FastLSTMError for one that was asked for and is not installed, or does not know the precision.
    """
    if precision == BFLOAT16:
        if job not in ("training", "forward") or set(asked) - {"torch"}:
            raise FastLSTMError(
                "in bf16, training and forward passes are compared with PyTorch's (--peer torch)"
            )
        asked = asked or (() if missing("torch") else ("torch",))
        if not asked:
            return []
    for peer in asked:
        if lacking := missing(peer):
            raise FastLSTMError(
                f"peer {peer} needs {' and '.join(lacking)}, which is missing: pip install 'fastlstm[bench]'"
            )
    chosen = [peer for peer in JOBS[job] if (peer in asked if asked else not missing(peer))]
    frameworks = [peer for peer in chosen if peer in NEEDS]
    return frameworks if quick and frameworks and not asked else chosen


def variants(
    peer: str, job: str, shape: Shape, threads: int, quick: bool, precision: str = "float32"
) -> list[Variant]:
    """The ways in which a peer is measured with at most `threads` threads; `quick`: in one way."""
    counts = sorted({1, threads})
    if quick:
        # So little work that a second thread slows it down.
        counts = [1] if shape.B * shape.H < 1000 else [threads]
    padded = ["padded", "bucketed"] if shape.ragged else [""]
    modes = {
        "loop": [""],
        "numpy": [""],
        "torch": [*padded, "packed"] if shape.ragged else [""],
        # Every length of a batch is compiled anew, so JAX gets only the way that suits it better.
        "jax": padded[-1:],
        "onnxruntime": padded,
    }[peer]
    if precision == BFLOAT16:
        return [Variant(peer, n, _also(mode, "bf16 autocast"), exact=False) for n in counts for mode in modes]
    if job == "module":
        modes = ["packed"] if shape.ragged else [""]
    if job == "sample":
        modes = ["one at a time"] if shape.B == 1 else ["until all have ended", "dropping what has ended"]
        modes += ["one at a time, LSTMCell"] if shape.B == 1 else []
    if peer == "loop":
        counts = [1]
    if peer == "jax" and shape.ragged and quick:
        return []
    chosen = [Variant(peer, count, mode) for count in counts for mode in modes]
    if quick:
        return chosen
    if peer == "jax" and not shape.ragged:
        chosen.append(Variant(peer, threads, "unroll 4"))
    if peer == "onnxruntime" and threads > 1:
        chosen.append(Variant(peer, threads, _also(modes[-1], "no spinning")))
    if peer == "torch" and job in ("training", "forward"):
        chosen.append(Variant(peer, threads, _also(modes[0], "bf16 autocast"), exact=False))
    return chosen


def _also(mode: str, more: str) -> str:
    return f"{mode}, {more}" if mode else more
