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
    from fastlstm.data.joined import read_lines as read_lines
    from fastlstm.data.joined import read_names as read_names
    from fastlstm.data.names import Lines as Lines
    from fastlstm.data.names import Names as Names
    from fastlstm.data.texts import Text as Text
    from fastlstm.data.texts import read_text as read_text
    from fastlstm.data.vocabulary import Vocabulary as Vocabulary
    from fastlstm.errors import FastLSTMError as FastLSTMError
    from fastlstm.network.lstm import Gradients as Gradients
    from fastlstm.network.lstm import lstm_backward as lstm_backward
    from fastlstm.network.lstm import lstm_forward as lstm_forward
    from fastlstm.network.lstm import lstm_step as lstm_step
    from fastlstm.network.lstm import pack as pack
    from fastlstm.training.history import History as History

__version__ = "0.2.0"

# Public name -> module; imported when first asked for, so that `import fastlstm` costs nothing.
_HOMES = {
    "CharLM": "charlm",
    "FastLSTMError": "errors",
    "Gradients": "network.lstm",
    "History": "training.history",
    "Lines": "data.names",
    "Names": "data.names",
    "Text": "data.texts",
    "Vocabulary": "data.vocabulary",
    "lstm_backward": "network.lstm",
    "lstm_forward": "network.lstm",
    "lstm_step": "network.lstm",
    "pack": "network.lstm",
    "read_lines": "data.joined",
    "read_names": "data.joined",
    "read_text": "data.texts",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'fastlstm' has no attribute {name!r}")
    return getattr(importlib.import_module(f"fastlstm.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
