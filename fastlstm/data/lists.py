"""What Python hands over as a list of names: what is none, and which of its values are missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastlstm.errors import counted, printable, quoted

LONGEST = 5000  # characters of a name or a line


def no_list(names: Any) -> str | None:
    """What something is that is not a list of names, and what to pass instead; None if it may be one."""
    if isinstance(names, str):
        return "one string: give a list of names"
    if isinstance(names, bytes | bytearray | memoryview):
        return "bytes: decode them, and give a list of names"
    if isinstance(names, Mapping):
        return (
            "a dict: give list(d), with weights=list(d.values()) if they are counts, or a list of its values"
        )
    if isinstance(names, set | frozenset):
        return "a set, whose order changes from process to process: give sorted(s)"
    if hasattr(names, "read"):
        return "an open file: give its path to fl.read_names or fl.read_text"
    if hasattr(names, "columns") or getattr(names, "ndim", 1) != 1:
        titles = [printable(title, 40) for title in getattr(names, "columns", ())][:5]
        shown = f" with the columns {', '.join(titles)}" if titles else ""
        return f"a table{shown}: give one of its columns"
    if not isinstance(names, Iterable):
        return f"{quoted(names)}: give a list of names"
    return None


def is_missing(value: Any) -> bool:
    """Whether a value stands for none: None, NaN, and pandas' NaT and NA, which compares with nothing."""
    try:
        return value is None or bool(value != value)
    except (TypeError, ValueError):
        return type(value).__name__ == "NAType"


def left_out(places: Sequence[int]) -> str:
    """What is to be said of missing names at some places: the first of them, and how many more there are."""
    shown = ", ".join(f"{place:,}" for place in places[:5])
    more = f" and {len(places) - 5:,} more" if len(places) > 5 else ""
    return f"{counted(len(places), 'name')} missing (None, NaN) and left out: number {shown}{more}"
