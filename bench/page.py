"""The page of a names model in headless Chromium: size, first names, speed, and answers while it draws."""

from __future__ import annotations

import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

import click
from playwright.sync_api import Page, sync_playwright

from fastlstm.generation.sampling import generate
from fastlstm.interop.page.assemble import of_run
from fastlstm.training.model_file import load_model

SETTINGS = "prefix: '', temperature: 1, topK: V, topP: 1, longest: 0, novel: false, seed: 1n, given: []"
FIRST = """new MutationObserver((_, observer) => {
  if (!document.querySelector(".names li")) return;
  window.first = performance.now();
  observer.disconnect();
}).observe(document, { childList: true, subtree: true });"""
WAITS = """async () => {
  let drawing = true;
  const whole = ask("names", { n: 40000, SETTINGS }, () => {}).then(() => (drawing = false));
  const waits = [];
  while (drawing) {
    const asked = performance.now();
    await ask("read", { text: "annalena", given: [] });
    waits.push(performance.now() - asked);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await whole;
  return waits;
}""".replace("SETTINGS", SETTINGS)


def names(page: Page, n: int) -> tuple[list[str], float]:
    """The first n names of seed 1, and how many letters a second were drawn."""
    code = f"""async (n) => {{
      const drawn = [];
      const {{ count, seconds }} = await ask("names", {{ n, {SETTINGS} }}, (part) => drawn.push(...part));
      return [drawn, count / seconds];
    }}"""
    found: Any = page.evaluate(code, n)
    return found[0], found[1]


@click.command()
@click.argument("run", type=click.Path(exists=True))
def command(run: str) -> None:
    """Measure the page of RUN, a model of names, after its names have been found to be those of `fastlstm sample`."""
    model = load_model(run)
    path = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for half in (False, True):
            file = Path(folder, f"{half}.html")
            of_run(run, model, half=half).write(file)
            click.echo(f"{'half precision' if half else 'float32'}: {file.stat().st_size / 1e6:.2f} MB")
            firsts = []
            for _ in range(7):
                page = browser.new_context(offline=True).new_page()
                page.add_init_script(FIRST)
                page.goto(file.as_uri())
                page.wait_for_selector(".names li")
                firsts.append(page.evaluate("first"))
            click.echo(f"  first names after {statistics.median(firsts):.0f} ms (at most {max(firsts):.0f})")
            drawn, _ = names(page, 1000)
            if not half:
                want = generate(model, 1000, seed=1)
                other = sum(a != b for a, b in zip(drawn, want, strict=True))
                click.echo(f"  of 1,000 names {other} differ from those of `fastlstm sample`")
            speeds = [names(page, 1000)[1] for _ in range(15)]
            click.echo(f"  {statistics.median(speeds):,.0f} letters a second (from {min(speeds):,.0f})")
            waits: Any = page.evaluate(WAITS)
            click.echo(
                f"  {len(waits)} answers while it draws: {statistics.median(waits):.1f} ms, at most {max(waits):.1f}"
            )
        browser.close()


if __name__ == "__main__":
    command()
