"""The kinds of an option's values: how each is converted from what Python or the command line gives, and checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral
from typing import Any

from fastlstm.errors import FastLSTMError, printable, quoted

MOST = 2**53  # what a whole number may be where nothing else limits it


def whole_or_share(value: Any) -> int | float:
    """0.1 is a share, 1000 a count; strings are read the same way."""
    if not isinstance(value, str):
        return int(value) if isinstance(value, Integral) else float(value)
    try:
        return int(value)
    except ValueError:
        return float(value)


def several(value: Any) -> tuple[str, ...]:
    """One string, or a list of them."""
    return (value,) if isinstance(value, str) else tuple(map(str, value))


def one_or_several(value: Any) -> str | tuple[str, ...]:
    """One string, or more than one of them."""
    found = (str(value),) if isinstance(value, int) else several(value)
    return found[0] if len(found) == 1 else found


_KINDS_OF_VALUE = {
    int: "a whole number", float: "a number", bool: "true or false", str: "a string",
    whole_or_share: "a share such as 0.1 or a whole number", several: "a string or a list of them",
    one_or_several: "a string or a list of them",
}  # fmt: skip


def checked(name: str, value: Any, default: Any, rules: Mapping[str, Any]) -> Any:
    """`value` as the option's own type, or FastLSTMError saying what it must be."""
    if value is None and default is None:
        return None
    convert = rules["convert"]
    try:
        if value is None or (isinstance(value, bool) != (convert is bool)):
            raise TypeError
        converted = convert(value)
        if (
            convert not in (str, several, one_or_several)
            and not isinstance(value, str)
            and converted != value
        ):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise FastLSTMError(f"{name} is {quoted(value)}; it must be {_KINDS_OF_VALUE[convert]}") from None
    if convert in (several, one_or_several):
        return converted or None
    if isinstance(converted, str):
        if "choices" in rules and converted not in rules["choices"]:
            raise FastLSTMError(
                f"{name} is {quoted(converted)}; it must be one of {', '.join(rules['choices'])}"
            )
        return converted
    most = rules.get("high", MOST if isinstance(converted, int) else math.inf)
    limits = [
        (f"at least {rules.get('low')}", "low" in rules and not converted >= rules["low"]),
        (f"above {rules.get('above')}", "above" in rules and not converted > rules["above"]),
        (f"below {rules.get('below')}", "below" in rules and not converted < rules["below"]),
        (f"at most {most:,}", converted > most),
        ("finite", isinstance(converted, float) and not math.isfinite(converted)),
    ]
    for needed, broken in limits:
        if broken:
            raise FastLSTMError(f"{name} is {printable(converted, 40)}; it must be {needed}")
    return converted
