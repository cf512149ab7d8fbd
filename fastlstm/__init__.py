"""fastlstm: character-level LSTMs, trained and sampled fast on a CPU.

>>> import fastlstm as fl
>>> fl.CharLM.__name__
'CharLM'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastlstm.charlm import CharLM as CharLM
    from fastlstm.corpus import Names as Names
    from fastlstm.corpus import Text as Text
    from fastlstm.corpus import read_names as read_names
    from fastlstm.corpus import read_text as read_text
    from fastlstm.errors import FastLSTMError as FastLSTMError
    from fastlstm.lstm import Gradients as Gradients
    from fastlstm.lstm import lstm_backward as lstm_backward
    from fastlstm.lstm import lstm_forward as lstm_forward
    from fastlstm.lstm import lstm_step as lstm_step
    from fastlstm.lstm import pack as pack
    from fastlstm.vocabulary import Vocabulary as Vocabulary

__version__ = "0.1.0"

# Public name -> module; imported when first asked for, so that `import fastlstm` costs nothing.
_HOMES = {
    "CharLM": "charlm",
    "FastLSTMError": "errors",
    "Gradients": "lstm",
    "Names": "corpus",
    "Text": "corpus",
    "Vocabulary": "vocabulary",
    "lstm_backward": "lstm",
    "lstm_forward": "lstm",
    "lstm_step": "lstm",
    "pack": "lstm",
    "read_names": "corpus",
    "read_text": "corpus",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'fastlstm' has no attribute {name!r}")
    return getattr(importlib.import_module(f"fastlstm.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
