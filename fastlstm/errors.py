"""The one exception that fastlstm raises on purpose."""


class FastLSTMError(ValueError):
    """What was found, where, and what to do, in one line that is fit to be shown to a person."""
