"""What all tests rely on."""

import signal

from hypothesis import settings

# A job that a shell runs in the background ignores Ctrl-C, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run; `scripts/fuzz.py` and `--hypothesis-profile default` look for new ones.
settings.register_profile("same", derandomize=True, database=None)
settings.load_profile("same")
