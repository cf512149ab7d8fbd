"""What a file says is checked without an error of Python's, whatever JSON holds."""

from __future__ import annotations

import pytest

from fastlstm.errors import FastLSTMError
from fastlstm.training.stored import TYPES, checked

VALUES = (
    None,
    True,
    0,
    -1,
    2**60,
    1.5,
    float("nan"),
    "",
    "text",
    [],
    ["text"],
    [1],
    [None],
    [[]],
    {},
    {"a": 1},
)
SOUND = {
    "bool": [True],
    "str": ["", "text"],
    "str | None": [None, "", "text"],
    "str | list | None": [None, "", "text", [], ["text"]],
    "tuple[str, ...]": [[], ["text"]],
    "object": [{}, {"a": 1}],
}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_every_value_is_taken_or_refused_in_words(kind: str, value: object) -> None:
    try:
        taken = checked("field", value, kind) is value
    except FastLSTMError:
        taken = False
    if kind in SOUND:
        assert taken == any(type(value) is type(each) and value == each for each in SOUND[kind])
