"""From names to a padded batch, and from that to its positions."""

from __future__ import annotations

from fastlstm.engine.kernels.compile import kernel


@kernel
def compact(ids, targets, lengths, vocabulary, start, real_ids, real_targets):
    """Gather the real elements of ids and targets (T, B) step by step; start (T + 1) gets each step's first position.

    lengths (B,) must lie in 1..T and not increase, and what is real in 0..vocabulary − 1; False where that is not so.
    """
    T, B = ids.shape
    for b in range(B):
        if not 1 <= lengths[b] <= (lengths[b - 1] if b else T):
            return False
    active, n = B, 0
    for t in range(T):
        while active and lengths[active - 1] <= t:
            active -= 1
        start[t] = n
        for b in range(active):
            if not (0 <= ids[t, b] < vocabulary and 0 <= targets[t, b] < vocabulary):
                return False
            real_ids[n], real_targets[n] = ids[t, b], targets[t, b]
            n += 1
    start[T] = n
    return True


@kernel
def fill_names(flat, starts, sizes, picked, ids, targets, lengths):
    """A batch of the names that are picked (B,), the longest first, in their order where equally long.

    Name n is the sizes[n] elements of `flat` from starts[n] on, which targets read one later. Columns of ids and targets
    (T, B) are filled as far as their names go, and lengths (B,); returns the longest length.
    """
    longest, b = 0, 0
    for n in picked:
        longest = max(longest, sizes[n])
    for size in range(longest, 0, -1):
        for n in picked:
            if sizes[n] == size:
                for t in range(size):
                    ids[t, b], targets[t, b] = flat[starts[n] + t], flat[starts[n] + t + 1]
                lengths[b] = size
                b += 1
    return longest


@kernel
def deal(lengths, loads, owners):
    """Deal rows (B,), the longest first, each to whoever has the fewest characters: loads (ranks,), zero at first."""
    for b in range(len(lengths)):
        least = 0
        for rank in range(1, len(loads)):
            if loads[rank] < loads[least]:
                least = rank
        owners[b] = least
        loads[least] += lengths[b]
