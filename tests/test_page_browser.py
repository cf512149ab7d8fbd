"""The page in a real browser: every control, the same numbers as in Python, and nothing but text from the model."""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import axe, chromium, opened
from sample_models import naive_logits, small_model

from fastlstm.generation.sampling import generate, stream
from fastlstm.generation.scoring import score
from fastlstm.generation.stream import start, step
from fastlstm.interop.page.assemble import build

LETTERS = "abcdefghijklmnopqrstuvwxyz"
EVIL = "<img src=x onerror=document.title=1></script>\"'&\u202e😀"
METRICS = {
    "epoch": [1.0, 2.0, 3.0],
    "train_loss": [3.0, 2.5, 2.25],
    "validation_loss": [2.9, 2.6, 2.5],
}


def names_model(characters: str = LETTERS, scale: float = 2.0, **options: Any) -> Any:
    """A model of names that are not too long."""
    sizes = {"dtype": "float32", "hidden": 24, "embedding": 8}
    model = small_model(characters, scale=scale, **{**sizes, **options})
    model.network.parameters["head.b"][0] += 2
    return model


def text_model() -> Any:
    sizes = {"dtype": "float32", "hidden": 20, "embedding": 8, "layers": 2}
    model = small_model("abc \nD", "text", scale=2.0, **sizes)
    model.preprocessing = {"lowercase": False}
    return model


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as it:
        yield it


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Open the page of a model; `change` may alter its source first."""
    contexts, numbers = [], itertools.count()

    def show(
        model: Any, change: Callable[[str], str] = str, view: dict[str, Any] | None = None, **made: Any
    ) -> Any:
        file = tmp_path / f"page-{next(numbers)}.html"
        file.write_text(change(build(model, **made).html), "utf-8", newline="\n")
        contexts.append(opened(browser, file, **(view or {})))
        page = contexts[-1].__enter__()
        page.set_default_timeout(5000)
        if model.kind == "names":
            page.wait_for_selector(".names li")
        page.wait_for_selector(".bars li")
        return page

    yield show
    for context in contexts:
        context.__exit__(None, None, None)


def ask(page: Any, task: str, **request: Any) -> Any:
    """What the worker answers, and the parts of the answer that came before."""
    seed = request.pop("seed", None)
    number = "" if seed is None else f"request.seed = {seed}n;"
    code = f"""async ([task, request]) => {{
      const parts = [];
      {number}
      const answer = await ask(task, request, (part) => parts.push(part));
      return [parts.flat(), answer];
    }}"""
    return page.evaluate(code, [task, request])


def drawn(page: Any, n: int, **request: Any) -> list[str]:
    settings = {"prefix": "", "temperature": 1, "topK": 10**6, "topP": 1, "longest": 0, "novel": False}
    return ask(page, "names", n=n, **{**settings, "given": [], **request})[0]


def listed(page: Any) -> list[str]:
    return page.locator(".names button").all_inner_texts()


def put(page: Any, name: str, value: Any, section: str = "#names") -> None:
    """Set a control as a reader would, and tell the page."""
    page.evaluate(
        "([selector, value]) => { const e = document.querySelector(selector); e.value = value;"
        " e.dispatchEvent(new Event('input', { bubbles: true })); }",
        [f"{section} [name={name}]", str(value)],
    )


def test_lines_have_line_breaks_and_are_as_long_as_in_python(show: Callable[..., Any]) -> None:
    model = names_model("ab \n")
    model.kind, model.preprocessing = "lines", {"lowercase": False, "longest": 180}
    model.network.parameters["head.b"][0] -= 6
    page = show(model)
    want = generate(model, 8, seed=1)
    assert page.locator(".names button").evaluate_all("all => all.map((one) => one.textContent)") == want
    assert max(map(len, want)) == 180
    assert "\n" in want[0]
    assert "make up lines" in page.locator("#lead").inner_text()
    assert page.locator(".names button").first.bounding_box()["height"] > 60
    page.locator("#letters textarea, #letters input").first.fill("a\nb")
    assert page.locator("#letters textarea, #letters input").first.input_value() == "a\nb"


def test_a_thousand_names_are_those_of_sample(show: Callable[..., Any]) -> None:
    model = names_model(scale=0.4, hidden=256, embedding=64)
    want = generate(model, 1000, seed=2**64 - 5)
    found = drawn(show(model), 1000, seed=2**64 - 5)
    assert len(set(want)) > 500
    assert len(found) == 1000
    assert sum(a != b for a, b in zip(found, want, strict=True)) <= 1


@pytest.mark.parametrize(
    "options",
    [
        {"layers": 3},
        {"embedding": 0},
        {"tied": True, "hidden": 20, "embedding": 20},
        {"learned_state": True, "layers": 2},
        {"dtype": "float64", "hidden": 33, "embedding": 7},
        {"characters": "".join(map(chr, range(0x4E00, 0x4E00 + 300)))},
    ],
    ids=lambda options: "-".join(options),
)
def test_every_architecture_draws_and_scores_alike(show: Callable[..., Any], options: Any) -> None:
    model = names_model(**options)
    page = show(model)
    want = generate(model, 200, seed=5)
    assert sum(a != b for a, b in zip(drawn(page, 200, seed=5), want, strict=True)) <= 1
    for name, (logprob, _) in zip(want[:5], score(model, want[:5]), strict=True):
        assert ask(page, "read", text=name, given=[])[1]["whole"] == pytest.approx(logprob, abs=1e-4)


def test_without_vectors_and_in_half_precision(show: Callable[..., Any]) -> None:
    model = names_model()
    want = generate(model, 100, seed=1)

    def break_kernel(html: str) -> str:
        return html.replace('id="kernel">AGFzbQ', 'id="kernel">AAAAAA')

    page = show(model, break_kernel)
    assert sum(a != b for a, b in zip(drawn(page, 100, seed=1), want, strict=True)) <= 1
    page = show(model, half=True)
    flat = model.network.parameters.flat
    flat[:] = flat.astype(np.float16)
    assert drawn(page, 100, seed=1) == generate(model, 100, seed=1)


def test_controls_of_names(show: Callable[..., Any]) -> None:
    model = names_model()
    known = set(generate(model, 30, seed=1)[::2])
    page = show(model, index=known)
    assert listed(page) == generate(model, 40, seed=1)
    assert f"contains the {len(known)} names" in page.inner_text("#foot")
    page.click("#names summary")
    controls: dict[str, Any] = {}
    for name, value, argument in (
        ("n", 25, "n"),
        ("prefix", "An", "prefix"),
        ("temperature", 0.7, "temperature"),
        ("topK", 9, "top_k"),
        ("topP", 0.8, "top_p"),
        ("longest", 6, "max_length"),
        ("seed", 12, "seed"),
    ):
        put(page, name, value)
        controls[argument] = value
        want = generate(model, **{"n": 40, "seed": 1, **controls})
        page.wait_for_function("want => names.drawn.join() === want", arg=",".join(want))
        assert listed(page) == want
        assert "25 names" in page.inner_text("#names .status")
    page.locator("#names [name=novel]").check()
    want = generate(model, novel=known, **controls)
    page.wait_for_function("want => names.drawn.join() === want", arg=",".join(want))
    assert not known & set(want)
    put(page, "temperature", 0)
    known.update(generate(model, 1, prefix="an", temperature=0, max_length=6))
    page.wait_for_function("() => document.querySelector('#names .status').textContent.length > 0")
    page.click("text=Draw others")
    page.wait_for_function("() => document.querySelector('#names [name=seed]').value !== '12'")


def test_novel_names_that_there_are_not(show: Callable[..., Any]) -> None:
    model = names_model()
    known = set(generate(model, 1, temperature=0))
    page = show(model, index=known)
    put(page, "temperature", 0)
    page.locator("#names [name=novel]").check()
    page.wait_for_function("() => names.drawn.length === 0")
    assert "0 of 40: there are no more new ones among 1 draw" in page.inner_text("#names .status")


def test_characters_it_has_never_seen_are_named(show: Callable[..., Any]) -> None:
    page = show(names_model())
    put(page, "prefix", "aß1")
    page.wait_for_selector("#names .status.wrong")
    assert page.inner_text("#names .status") == "The model has never seen “ß”, “1”."
    put(page, "prefix", "a")
    page.wait_for_selector("#names .status:not(.wrong)")
    put(page, "longest", 1)
    put(page, "prefix", "ab")
    page.wait_for_selector("#names .status.wrong")
    put(page, "seed", "x")
    assert page.eval_on_selector("#names [name=seed]", "e => !e.validity.valid")


def test_copying_and_csv(show: Callable[..., Any]) -> None:
    model = names_model('a,"\n b')
    page = show(model, view={"permissions": ["clipboard-read", "clipboard-write"]})
    page.click("#names .copy")
    page.wait_for_selector("text=Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "\n".join(generate(model, 40, seed=1))
    with page.expect_download() as download:
        page.click("text=CSV")
    assert download.value.suggested_filename == "names.csv"
    text = Path(download.value.path()).read_bytes().decode()
    assert list(csv.reader(io.StringIO(text))) == [
        ["name"],
        *([name] for name in generate(model, 40, seed=1)),
    ]


def test_a_name_letter_by_letter(show: Callable[..., Any]) -> None:
    model = names_model()
    page = show(model)
    place, name = next(
        (n, name) for n, name in enumerate(generate(model, 40, seed=1)) if n and 3 < len(name) < 9
    )
    page.locator(".names button").nth(place).click()
    page.wait_for_selector(f".names [aria-pressed=true]:text-is('{name}')")
    assert page.input_value("#letters textarea") == name
    assert page.locator(".word b").all_inner_texts() == [*name, "end"]
    ids = [0, *model.vocabulary.encode(name).tolist(), 0]
    figures = page.locator(".word small").all_inner_texts()
    logprob = 0.0
    for t, figure in enumerate(figures):
        z = naive_logits(model, ids[: t + 1])
        p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        logprob += math.log(p[ids[t + 1]])
        shown = 0.0 if figure.startswith("<") else float(figure.removesuffix(" %")) / 100
        assert shown == pytest.approx(p[ids[t + 1]], abs=0.0051)
        rather = page.locator(".word i").nth(t).inner_text().split()
        better = [["end", *LETTERS][i] for i in np.argsort(-p)[:2] if p[i] > p[ids[t + 1]]]
        assert rather == (better if t < len(name) else [])
    assert logprob == pytest.approx(score(model, [name])[0].logprob, abs=1e-3)
    page.focus(".word")
    page.keyboard.press("Home")
    assert page.inner_text("#bars-title") == "At the beginning it expects"
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#bars-title") == f"After “{name[0]}” it expected"
    assert page.locator(".bars .actual .letter").inner_text() == name[1]
    page.locator(".word b").first.click()
    assert page.get_attribute(".word", "aria-activedescendant") == "letter-0"


def test_typing_shows_what_comes_next(show: Callable[..., Any]) -> None:
    model = names_model()
    page = show(model)
    page.fill("#letters textarea", "")
    page.locator("#letters textarea").press_sequentially("An\n")
    page.wait_for_function("() => document.querySelectorAll('.word b').length === 3")
    z = naive_logits(model, [0, 1, 14])
    p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
    likely = [["end", *LETTERS][i] for i in np.argsort(-p)[:4]]
    assert page.locator(".bars .letter").all_inner_texts()[:4] == likely
    bits = -ask(page, "read", text="an", given=[])[1]["written"] / math.log(2) / 2
    assert f"{bits:.2f} bits of surprise a letter. As a whole name" in page.inner_text("#letters .status")
    page.fill("#letters textarea", "é")
    page.wait_for_selector("#letters .status.wrong")
    assert "“é”" in page.inner_text("#letters .status")


def test_looking_inside(show: Callable[..., Any]) -> None:
    model = names_model(layers=2)
    page = show(model)
    page.wait_for_selector(".states span")
    name = generate(model, 40, seed=1)[0]
    state, cells = start(model), []
    step(state, [0])
    for id in model.vocabulary.encode(name):
        step(state, [id])
        cells.append(state.c.reshape(-1).copy())
    found = page.evaluate("Array.from(inside.states[0].states)")
    assert np.reshape(found, (len(name), -1)) == pytest.approx(np.array(cells), abs=1e-4)
    put(page, "unit", 31, "#inside")
    tones = page.eval_on_selector_all(
        ".states p:first-child span", "all => all.map(e => e.style.getPropertyValue('--tone'))"
    )
    assert tones == [f"var(--{'accent' if c[30] > 0 else 'ink'})" for c in cells]
    page.focus(".heat canvas")
    page.keyboard.press("ArrowRight")
    assert page.input_value("[name=unit]") == "32"
    page.keyboard.press("PageDown")
    assert page.input_value("[name=unit]") == "16"
    box = page.locator(".heat canvas").bounding_box()
    page.mouse.click(box["x"] + box["width"] - 2, box["y"] + 3)
    assert page.input_value("[name=unit]") == "48"
    buttons = page.locator(".found button")
    for n in range(buttons.count()):
        buttons.nth(n).click()
        assert page.input_value("[name=unit]") == buttons.nth(n).locator("small").inner_text().split()[0]
        assert buttons.nth(n).get_attribute("aria-pressed") == "true"


def test_text_is_written_paused_stopped_and_goes_on(show: Callable[..., Any]) -> None:
    model = text_model()
    page = show(model, view={"reduced_motion": "reduce"})
    want = "".join(stream(model, length=2000, seed=1))
    page.wait_for_function("() => !text.running && text.shown.textContent.length === 1000")
    assert page.inner_text("#text .status").startswith("1,000 letters")
    page.click("text=Go on")
    page.wait_for_function("() => !text.running && text.shown.textContent.length === 2000")
    assert page.evaluate("text.shown.textContent") == want
    page.click("#text summary")
    put(page, "pace", 2, "#text")
    put(page, "prefix", "ab", "#text")
    want = "".join(stream(model, prefix="ab", length=1000, seed=1))
    page.wait_for_function("() => text.running && text.shown.textContent.length > 4")
    page.click("text=Pause")
    page.wait_for_selector("#text .pause:text-is('Go on')")
    so_far = page.evaluate("text.shown.textContent")
    assert want.startswith(so_far)
    assert len(so_far) < 200
    put(page, "pace", 4, "#text")
    page.click("text=Go on")
    page.wait_for_function("() => !text.running")
    assert page.evaluate("text.shown.textContent") == want
    put(page, "pace", 1, "#text")
    put(page, "seed", 3, "#text")
    page.click("text=Stop")
    page.wait_for_function("() => !text.running")
    assert page.locator("#text .pause").is_disabled()
    page.click("text=Write another")
    page.wait_for_function("() => text.running && text.form.elements.seed.value !== '3'")


def test_settings_of_a_text_may_move_meanwhile(show: Callable[..., Any]) -> None:
    model = text_model()
    page = show(model, view={"reduced_motion": "reduce"})
    put(page, "pace", 1, "#text")
    put(page, "seed", 9, "#text")
    page.wait_for_function("() => text.running && text.shown.textContent.length > 3")
    put(page, "temperature", 0, "#text")
    put(page, "pace", 4, "#text")
    page.wait_for_function("() => !text.running && text.shown.textContent.length === 1000")
    shown = page.evaluate("text.shown.textContent")
    assert shown[-300:] != "".join(stream(model, length=1000, seed=9))[-300:]
    assert any(shown[-300:-period] == shown[-300 + period :] for period in range(1, 100))
    for name, value in (("temperature", 0.8), ("topK", 4), ("topP", 0.9)):
        put(page, name, value, "#text")
    put(page, "prefix", "D", "#text")
    want = "".join(stream(model, prefix="D", length=1000, seed=9, temperature=0.8, top_k=4, top_p=0.9))
    page.wait_for_function("want => text.shown.textContent === want", arg=want)


def test_text_letter_by_letter_and_inside(show: Callable[..., Any]) -> None:
    model = text_model()
    page = show(model, view={"reduced_motion": "reduce"})
    page.fill("#letters textarea", "abD\nc")
    page.wait_for_function("() => document.querySelectorAll('.word [role=option]').length === 6")
    logprob, bits = score(model, ["abD\nc"])[0]
    assert ask(page, "read", text="abD\nc", given=[])[1]["written"] == pytest.approx(logprob, abs=1e-4)
    assert f"{bits:.2f} bits of surprise" in page.inner_text("#letters .status")
    assert page.locator(".heat .rows span").all_inner_texts() == ["a", "b", "D", "↵", "c"]
    page.wait_for_selector(".states span")


def test_conditions_add_their_states(show: Callable[..., Any]) -> None:
    model = names_model(conditions=(3, 2), layers=2)
    model.preprocessing["given"] = [
        {"title": "Sex <b>", "values": ["F", "M"], "counts": [3, 2]},
        {"title": "Year", "values": ["1994"], "counts": [5]},
    ]
    page = show(model)
    assert page.locator("#names .given label").all_inner_texts()[1].startswith("Year")
    page.locator("#names .given select").first.select_option("M")
    want = generate(model, 40, seed=1, given={"Sex <b>": "M"})
    page.wait_for_function("want => names.drawn.join() === want", arg=",".join(want))
    assert want != generate(model, 40, seed=1)
    both = {"Sex <b>": "M", "Year": "1994"}
    logprob = score(model, want[:1], given=both)[0].logprob
    assert ask(page, "read", text=want[0], given=[2, 4])[1]["whole"] == pytest.approx(logprob, abs=1e-4)


def test_curves_follow_the_pointer_and_the_keyboard(show: Callable[..., Any]) -> None:
    page = show(names_model(), metrics=METRICS)
    status = page.locator("#curves .status")
    assert status.inner_text() == "Epoch 3 · trained on 2.250 · held out 2.500"
    page.locator(".chart").scroll_into_view_if_needed()
    box = page.locator(".chart svg").bounding_box()
    page.mouse.move(box["x"] + 40, box["y"] + 50)
    assert status.inner_text() == "Epoch 1 · trained on 3.000 · held out 2.900"
    page.focus(".chart input")
    page.keyboard.press("ArrowRight")
    assert status.inner_text().startswith("Epoch 2")
    assert page.get_attribute(".chart input", "aria-valuetext").startswith("Epoch 2")
    assert not show(names_model()).locator("#curves").is_visible()


def test_whatever_the_data_hold_stays_text(show: Callable[..., Any]) -> None:
    model = names_model("".join(dict.fromkeys(EVIL)))
    page = show(model, title=EVIL, index={EVIL})
    assert page.title() == EVIL
    assert page.inner_text("h1") == EVIL
    page.fill("#letters textarea", EVIL)
    page.wait_for_function("n => document.querySelectorAll('.word b').length === n", arg=len(EVIL) + 1)
    assert page.locator(".word b").all_inner_texts()[-3:] == ["U+202E", "😀", "end"]
    assert page.locator("img").count() == 0
    assert page.title() == EVIL
    assert "".join(page.locator(".names button").all_text_contents()) == "".join(generate(model, 40, seed=1))


@pytest.mark.parametrize(
    ("kind", "scheme", "width"),
    [("names", "light", 320), ("names", "dark", 1280), ("text", "dark", 320), ("text", "light", 1280)],
)
def test_for_everybody(show: Callable[..., Any], kind: str, scheme: str, width: int) -> None:
    model = names_model() if kind == "names" else text_model()
    view = {
        "color_scheme": scheme,
        "viewport": {"width": width, "height": 800},
        "reduced_motion": "reduce",
    }
    page = show(model, view=view, metrics=METRICS, index={"anna"} if kind == "names" else None)
    page.click(f"#{kind} summary")
    page.wait_for_selector(".states span")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate(axe())
    result = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    assert [(v["id"], [node["html"][:200] for node in v["nodes"][:3]]) for v in result["violations"]] == []
    ways = page.evaluate(
        "[...document.querySelectorAll('button, input, textarea, summary, [tabindex]')]"
        ".filter(e => e.offsetParent && e.tabIndex < 0).length"
    )
    assert ways == 0


def test_in_a_notebook(show: Callable[..., Any], browser: Any, tmp_path: Path) -> None:
    """Jupyter shows it in a frame of its own origin, from which nothing of the notebook can be reached."""
    model = names_model()
    file = tmp_path / "notebook.html"
    file.write_text(f"<!doctype html><meta charset=utf-8>{build(model)._repr_html_()}", "utf-8")
    with opened(browser, file) as page:
        frame = page.frame_locator("iframe")
        frame.locator(".names li").first.wait_for(timeout=5000)
        assert frame.locator(".names button").all_inner_texts()[:20] == generate(model, 20, seed=1)


def test_a_damaged_file_says_so(browser: Any, tmp_path: Path) -> None:
    model = names_model()
    page_of = build(model).html
    file = tmp_path / "broken.html"
    file.write_text(page_of.replace('id="weights">', 'id="weights">%%%'), "utf-8")
    with opened(browser, file) as page:
        page.wait_for_selector("#names .status.wrong")
