"""What vectors are in truth: rows of an embedding."""

from __future__ import annotations

from fastlstm.engine.kernels.compile import kernel


@kernel
def are_rows(x, e, ids):
    """Whether x[n] is e[ids[n]] for every n; a NaN is like nothing. x (N, I) and e (V, I) are floats, ids (N,) int32."""
    for n in range(len(ids)):
        if not 0 <= ids[n] < len(e):
            return False
        different = 0
        for k in range(x.shape[1]):
            different |= x[n, k] != e[ids[n], k]
        if different:
            return False
    return True
