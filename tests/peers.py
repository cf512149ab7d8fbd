"""Other frameworks as oracles, where they are installed."""

from __future__ import annotations

import importlib
import os
import warnings
from typing import Any

import pytest


def require(name: str) -> Any:
    """Import a peer, or skip the test; with FASTLSTM_REQUIRE_PEERS=1 a peer that isn't there is a failure."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a peer's own deprecations are not ours
            return importlib.import_module(name)
    except ImportError as error:
        if os.environ.get("FASTLSTM_REQUIRE_PEERS") == "1":
            pytest.fail(f"FASTLSTM_REQUIRE_PEERS=1, but {name} cannot be imported ({error})", pytrace=False)
        pytest.skip(f"{name} is not installed", allow_module_level=True)
