"""What a model's names are like next to those it was trained on: new or known, how long, how they begin."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from fastlstm.data.novelty import NameIndex, comparable

Shares = dict[Any, tuple[float, float]]  # value -> its share of the drawn, of the training names


class Report(NamedTuple):
    """Counts of drawn names, and shares of all drawn and all training names by length and by first letter."""

    drawn: int
    distinct: int
    new: int  # draws that are not in the data
    new_distinct: int
    known: int  # draws that are in the training data
    held_out: int  # and in the part held out from training
    elsewhere: int  # and in the data, but not under the values that were given
    repeated: int  # draws that an earlier draw equals
    training: int  # distinct training names
    found: int  # of them, those that were drawn
    lengths: Shares  # by characters
    letters: Shares  # by first letter


def compare(
    names: Sequence[str], index: NameIndex, given: Sequence[Mapping[str, str]] | None = None
) -> Report:
    """Compare drawn names with the training names, each of which counts as often as it did in training.

    With what was `given`, combinations of values by title, they are compared with the training names of these values.

    >>> facts = compare(["anna", "eve", "eve"], NameIndex({"anna": 2, "bob": 1}))
    >>> facts.new, facts.known, facts.repeated, facts.lengths[3]
    (2, 1, 1, (0.6666666666666666, 0.3333333333333333))
    """
    counts = Counter(comparable(name) for name in names)
    inside = index.within(given) if given else index
    parts = {name: inside.part(name) or ("elsewhere" if name in index else None) for name in counts}
    draws = Counter[str | None]()
    for name, count in counts.items():
        draws[parts[name]] += count
    found = Counter(parts.values())
    return Report(
        drawn=len(names),
        distinct=len(counts),
        new=draws[None],
        new_distinct=found[None],
        known=draws["train"],
        held_out=draws["validation"],
        elsewhere=draws["elsewhere"],
        repeated=len(names) - len(counts),
        training=len(inside.train),
        found=found["train"],
        lengths=_shares(counts, inside.train, len),
        letters=_shares(counts, inside.train, lambda name: name[:1]),
    )


def _shares(drawn: Mapping[str, float], training: Mapping[str, float], key: Any) -> Shares:
    """Value of `key` -> its share of the drawn and of the training names, in ascending order."""
    sums: dict[Any, list[float]] = {}
    for side, names in enumerate((drawn, training)):
        for name, count in names.items():
            sums.setdefault(key(name), [0.0, 0.0])[side] += count
    a, b = (sum(pair[side] for pair in sums.values()) or 1.0 for side in (0, 1))
    return {value: (sums[value][0] / a, sums[value][1] / b) for value in sorted(sums)}


def rows(facts: Report) -> list[tuple[str, str, float, float | None]]:
    """The report as rows (measure, value, drawn, training), for CSV."""
    counts = [(name, "", getattr(facts, name), None) for name in Report._fields[:10]]
    return [
        *counts,
        *(("length", str(value), *shares) for value, shares in facts.lengths.items()),
        *(("first letter", value, *shares) for value, shares in facts.letters.items()),
    ]


def table(facts: Report) -> str:
    """The report as text for a terminal."""
    counts = (
        ("new", facts.new, f"{facts.new_distinct:,} distinct"),
        ("in train", facts.known, f"{facts.found:,} of its {facts.training:,} distinct names"),
        ("held out", facts.held_out, "in the data, but held out from training"),
        ("repeated", facts.repeated, "equal to an earlier one"),
        ("others'", facts.elsewhere, "in the data, but under other values than these"),
    )
    lines = [f"{facts.drawn:,} names drawn, {facts.distinct:,} distinct"]
    for title, count, remark in counts[: 4 + bool(facts.elsewhere)]:
        lines.append(f"{title:>8} {count:9,}  {_percent(count / max(facts.drawn, 1))}   {remark}")
    for title, shares in (("length", facts.lengths), ("first", facts.letters)):
        lines += ["", f"{title:>8}   drawn   train"]
        for value, (a, b) in _main(shares):
            lines.append(f"{value!s:>8} {_percent(a)} {_percent(b)}  {'█' * round(100 * a)}")
    return "\n".join(lines)


def _main(shares: Shares) -> Iterator[tuple[Any, tuple[float, float]]]:
    """The values of some weight, at most 40 of them, and what the rest add up to."""
    chief = sorted(shares, key=lambda value: -sum(shares[value]))[:40]
    chief = {value for value in chief if max(shares[value]) >= 0.0005}
    yield from ((value, pair) for value, pair in shares.items() if value in chief)
    others = [pair for value, pair in shares.items() if value not in chief]
    if others:
        yield "other", (sum(a for a, _ in others), sum(b for _, b in others))


def _percent(share: float) -> str:
    return f"{100 * share:5.1f} %"


def picture(facts: Report, path: str | os.PathLike[str]) -> None:
    """Draw the two distributions, drawn beside training, into an image file; needs matplotlib."""
    from fastlstm.training import plots

    with plots.picture(path, 2, 10) as panels:
        for axes, title, shares in zip(
            panels, ("length", "first letter"), (facts.lengths, facts.letters), strict=True
        ):
            values, pairs = zip(*((str(value), pair) for value, pair in _main(shares)), strict=True)
            for side, label in enumerate(("drawn", "training")):
                places = [place + 0.4 * (side - 0.5) for place in range(len(values))]
                axes.bar(places, [100 * pair[side] for pair in pairs], 0.4, label=label)
            axes.set_xticks(range(len(values)), values)
            axes.set(xlabel=title, ylabel="% of names")
            axes.legend()
        new = 100 * facts.new / max(facts.drawn, 1)
        panels[0].figure.suptitle(f"{facts.drawn:,} names drawn, {new:.0f} % of them new")
