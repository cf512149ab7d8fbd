"""A real browser for the tests of the page: the system's Chromium, driven by Playwright, with the network off."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from peers import require

NAMES = ("chromium", "chromium-browser", "google-chrome")


def missing(what: str) -> None:
    """Skip for want of something; with FASTLSTM_REQUIRE_PEERS=1 it is a failure."""
    if os.environ.get("FASTLSTM_REQUIRE_PEERS") == "1":
        pytest.fail(f"FASTLSTM_REQUIRE_PEERS=1, but {what}", pytrace=False)
    pytest.skip(what)


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser, for several pages."""
    api = require("playwright.sync_api")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        missing("there is no Chromium here (apt-get install chromium)")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def axe() -> str:
    """The source of axe-core, the checker of accessibility."""
    path = os.environ.get("FASTLSTM_AXE", "")
    if not os.path.isfile(path):
        missing("FASTLSTM_AXE names no axe.min.js (npm install axe-core)")
    return Path(path).read_text(encoding="utf-8")


@contextmanager
def opened(browser: Any, file: Path, **options: Any) -> Iterator[Any]:
    """A page opened from a file and offline, which may ask for nothing else and has nothing to say on its console."""
    context = browser.new_context(offline=True, **options)
    page = context.new_page()
    requests, said = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(file.as_uri())
    yield page
    context.close()
    assert [url for url in requests if not url.startswith("blob:")] == [file.as_uri()], requests
    assert said == [], said
