"""The page as a file: what it holds, what it refuses, its kernel's bytes and its units; the browser is another file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from sample_models import naive_logits, small_model
from small_runs import write_data

import fastlstm as fl
from fastlstm.commands import play_
from fastlstm.commands.cli import main
from fastlstm.generation.stream import start, step
from fastlstm.interop.page import assemble, kernel
from fastlstm.interop.page.assemble import build, curves, of_run, stored
from fastlstm.interop.page.units import correlations, followers, name_features, text_features
from fastlstm.training.model_file import load_model, save_model

EVIL = "</script><script>document.title=1</script>\"'&<!--\u202e\u2028😀"


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def facts_of(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="facts">(.*?)</script>', html, re.DOTALL)
    assert found
    return json.loads(found[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of names, trained for a moment."""
    folder = tmp_path_factory.mktemp("page")
    data, out = write_data(folder), folder / "people-3"
    done = run("train", data, "--as", "names", "--out", out, "--epochs", 3, "--hidden", 8, "--embedding", 4)
    assert done.exit_code == 0, done.output
    return out


def test_a_run_becomes_one_file_that_asks_for_nothing(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = run("export", folder, page)
    assert done.exit_code == 0, done.output
    html = page.read_text(encoding="utf-8")
    assert "<title>People</title>" in html
    assert not re.search(r"(src|href)=\"(?!data:)|@import|url\(|https?:(?!//www\.w3\.org/2000/svg)", html)
    facts = facts_of(html)
    assert facts["index"] is None
    assert len(facts["curves"]["validation"]) == 3
    assert run("export", folder, page).exit_code == 0
    assert page.read_text(encoding="utf-8") == html  # the same run, the same bytes


def test_options_of_the_page(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "page"
    done = run("export", folder, page, "--to", "page", "--half", "--with-index", "--title", "A & <B>")
    assert done.exit_code == 0, done.output
    html = page.read_text(encoding="utf-8")
    assert "<h1>A &amp; &lt;B&gt;</h1>" in html
    names = fl.CharLM.load(folder).index
    assert facts_of(html)["index"] == sorted(names or ())
    assert facts_of(html)["half"] is True
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes((folder / "model.safetensors").read_bytes())
    done = run("export", alone, page, "--to", "page", "--with-index")
    assert (done.exit_code, "alone.index" in done.stderr) == (1, True)
    assert of_run(alone, load_model(alone)).html.count("<title>Alone</title>") == 1
    done = run("export", folder, tmp_path / "x.onnx", "--half")
    assert (done.exit_code, "for pages" in done.stderr) == (2, True)


@pytest.mark.parametrize("found", [True, False])
def test_play_opens_the_page(folder: Path, monkeypatch: pytest.MonkeyPatch, found: bool) -> None:
    opened: list[str] = []
    monkeypatch.setattr(play_.webbrowser, "open", lambda url: bool(opened.append(url)) or found)
    done = run("play", folder)
    assert done.exit_code == 0, done.output
    path = Path(done.output.split()[-1] if found else done.output.split("open ")[1].split(" in one")[0])
    assert opened == [path.as_uri()]
    assert "<title>People</title>" in path.read_text(encoding="utf-8")


def test_page_in_python(folder: Path, tmp_path: Path) -> None:
    lm = fl.CharLM(hidden=8, embedding=4, seed=1)
    history = lm.fit(["anna", "hanna", "nan"] * 9, steps=20, validate_every=5)
    page = lm.page("Ours", history, with_index=True)
    page.write(tmp_path / "ours.html")
    facts = facts_of((tmp_path / "ours.html").read_text(encoding="utf-8"))
    assert facts["index"] == sorted(lm.index or ())
    assert facts["curves"]["epoch"][-1] == pytest.approx(history.records[-1].epoch, abs=1e-4)
    assert "srcdoc=" in page._repr_html_()
    assert "MB" in repr(page)
    loaded = fl.CharLM.load(folder)
    loaded.index = None
    with pytest.raises(fl.FastLSTMError, match="training names"):
        loaded.page(with_index=True)


def test_whatever_the_data_hold_stays_data() -> None:
    characters = "".join(dict.fromkeys(EVIL))
    html = build(small_model(characters), EVIL, index=[EVIL]).html
    facts = facts_of(html)
    assert facts["index"] == [EVIL]
    assert facts["characters"] == characters
    assert html.count("</script>") == html.count("<script") == 5
    assert html.count("<script>") == 1
    assert "\u202e" not in facts_text(html)


def facts_text(html: str) -> str:
    return html[html.index('id="facts"') :]


SOURCES = sorted((Path(assemble.__file__).parent / "web").iterdir())


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_sources_fit_between_their_tags(source: Path) -> None:
    text = source.read_text(encoding="utf-8")
    if source.suffix != ".html":
        assert not re.search(r"</(script|style)|<!--|\{\{", text)
    assert text.count("\n") <= 300
    assert all(len(line) <= 130 or "data:" in line for line in text.splitlines())


def test_weights_as_they_are_stored() -> None:
    network = small_model(layers=2).network
    views = [view.ravel() for _, view in network.parameters.items()]
    flat = np.concatenate(views).astype("<f4")
    assert stored(network, half=False) == flat.tobytes()
    assert np.frombuffer(stored(network, half=True), "<f2") == pytest.approx(flat, rel=1e-3)


def test_weights_that_a_page_cannot_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    network = small_model().network
    network.parameters["head.b"][0] = 1e5
    with pytest.raises(fl.FastLSTMError, match=r"head\.b has a weight of 100000, too large for half"):
        stored(network, half=True)
    monkeypatch.setattr(assemble, "LIMIT", 100)
    with pytest.raises(fl.FastLSTMError, match="--half"):
        stored(network, half=False)


def test_curves_are_thinned_and_need_two_points() -> None:
    many = [float(n) for n in range(5000)]
    found = curves({"epoch": many, "train_loss": many, "validation_loss": [None] * 5000})
    assert found is not None
    assert len(found["train"]) == assemble.POINTS
    assert (found["train"][0], found["train"][-1], found["validation"][3]) == (0, 4999, None)
    assert curves({"epoch": [1.0], "train_loss": [2.0], "validation_loss": [None]}) is None


def test_kernel_is_a_module_of_two_functions() -> None:
    module = kernel.module()
    assert module.startswith(b"\0asm\x01\0\0\0")
    assert b"\x03one\x00\x00\x04four\x00\x01" in module
    assert len(module) < 3000


@pytest.mark.parametrize("kind", ["names", "text"])
def test_correlations_are_those_of_the_states_themselves(kind: str) -> None:
    model = small_model("ab \n", kind, layers=2)
    texts = ["abba ab\nb", "bab", "a"]
    rng = np.random.default_rng(2)
    features = [rng.normal(size=(len(text), 3)) for text in texts]
    states = []
    for text in texts:
        state = start(model)
        step(state, [0 if kind == "names" else int(model.vocabulary.encode("\n")[0])])
        for id in model.vocabulary.encode(text):
            step(state, [id])
            states.append(state.c.reshape(-1).copy())
    want = np.corrcoef(np.concatenate(features), np.array(states), rowvar=False)[:3, 3:]
    few = correlations(model, texts, features)
    assert few == pytest.approx(np.zeros_like(want))  # too few changes to say anything
    repeated = sorted(zip(texts * 12, features * 12, strict=True), key=lambda pair: -len(pair[0]))
    found = correlations(model, *map(list, zip(*repeated, strict=True)))
    assert found == pytest.approx(want, abs=1e-6)


def test_a_unit_that_counts_is_found() -> None:
    """A network whose unit 3 adds up a fixed amount at each character."""
    model = small_model("abc", scale=0.4)
    W, b = (model.network.parameters[f"lstm.0.{name}"] for name in "Wb")
    H = model.network.architecture.hidden
    for gate, bias in enumerate((9.0, 9.0, 0.2, 0.0)):
        W[gate * H + 3], b[gate * H + 3] = 0, bias
    model.network.parameters["head.b"][0] = 1
    best = followers(model)[0]
    assert (best.what, best.unit) == ("position in the name", 3)
    assert best.r > 0.99


def test_features() -> None:
    name = name_features("éva-li")
    assert [int(v) for v in name["vowels"]] == [1, 0, 1, 0, 0, 1]
    assert [int(v) for v in name["a second word"]] == [0, 0, 0, 1, 1, 1]
    text = text_features("If (x):\n  «A[0]» 1.")
    assert list(text["indentation"])[8:12] == [1, 2, 2, 2]
    assert list(text["inside brackets"])[2:7] == [0, 1, 1, 0, 0]
    assert sum(text["inside quotes"]) == 5
    assert list(text["position in the word"])[:5] == [1, 2, 0, 1, 2]
    assert {len(values) for values in text.values()} == {19}


def test_text_models_and_logits_have_a_page(tmp_path: Path) -> None:
    model = small_model("abc \n", "text")
    assert facts_of(build(model).html)["start"] == "\n"
    assert naive_logits(model, [0]).shape == (5,)
    save_model(tmp_path / "t.safetensors", model.network, model.vocabulary, "text", {"lowercase": False})
    assert run("export", tmp_path / "t.safetensors", tmp_path / "t.html").exit_code == 0
