"""Options: ranges, what defaults become, what a resumed run may change."""

from __future__ import annotations

import inspect
import shlex
from dataclasses import fields

import numpy as np
import pytest

import fastlstm as fl
from fastlstm.engine.simd import target
from fastlstm.errors import FastLSTMError
from fastlstm.training.keywords import OF_FILES, Keywords
from fastlstm.training.options import Options, flag


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hidden": 0}, "hidden is 0; it must be at least 1"),
        ({"hidden": 2.5}, "hidden is 2.5; it must be a whole number"),
        ({"hidden": "many"}, "hidden is 'many'; it must be a whole number"),
        ({"layers": None}, "layers is None; it must be a whole number"),
        ({"epochs": True}, "epochs is True; it must be a whole number"),
        ({"dropout": 1.0}, "dropout is 1.0; it must be below 1"),
        ({"dropout": float("nan")}, "dropout is nan; it must be a number"),
        ({"lr": 0.0}, "lr is 0.0; it must be above 0"),
        ({"lr": float("inf")}, "lr is inf; it must be finite"),
        ({"tied": 1}, "tied is 1; it must be true or false"),
        ({"optimizer": "lion"}, "optimizer is 'lion'; it must be one of sgd, adam, adamw"),
        ({"validation": -1}, "validation is -1; it must be at least 0"),
        ({"minutes": 0}, "minutes is 0.0; it must be above 0"),
        ({"epochs": 2, "minutes": 3}, "epochs and minutes are given together"),
    ],
)
def test_values_out_of_range_are_named(changes, says):
    with pytest.raises(FastLSTMError, match=says):
        Options(**changes)


def test_values_become_the_options_own_types():
    o = Options(hidden=np.int64(7), lr=1, validation=np.float64(0.2), column=3)
    assert (o.hidden, o.lr, o.validation, o.column) == (7, 1.0, 0.2, "3")
    assert [type(x) for x in (o.hidden, o.lr, o.validation)] == [int, float, float]
    assert type(Options(validation=1000).validation) is int


def test_unknown_options_are_type_errors():
    with pytest.raises(TypeError, match="hiden"):
        Options(hiden=3)  # pyright: ignore


def test_defaults_depend_on_the_kind_and_what_is_given_stays():
    names, text = Options().resolve("names", 10**6), Options(lr=1.0).resolve("text", 10**6)
    assert (names.batch_size, names.lowercase, text.batch_size, text.lowercase) == (128, True, 24, False)
    assert text.lr == 1.0
    assert names.epochs is not None
    assert None not in (names.hidden, names.embedding, names.dropout, names.weight_decay)
    assert Options(steps=5).resolve("names", 10**6).epochs is None
    assert Options(tied=True, hidden=96).resolve("names", 100).embedding == 96
    assert Options(hidden=512).resolve("text", 10**6).lr == Options().resolve("text", 10**6).lr / 2
    assert Options(hidden=64).resolve("names", 100).lr == names.lr
    assert Options(optimizer="adam").resolve("names", 100).weight_decay == 0
    assert Options(optimizer="sgd").resolve("names", 100).lr > names.lr


def test_little_data_is_gone_through_more_often_in_fewer_streams():
    few = Options().resolve("names", 100)
    assert few.epochs * 100 / few.batch_size >= 140
    assert few.hidden < Options().resolve("names", 1000).hidden
    assert few.dropout > Options().resolve("names", 10**5).dropout
    assert Options(dropout=0.1).resolve("names", 100).dropout == 0.1
    short = Options().resolve("text", 2000)
    assert short.batch_size * 200 < 2000


def test_more_minutes_choose_a_larger_model_unless_told():
    assert (
        Options(minutes=20).resolve("text", 10**6).hidden > Options(minutes=1).resolve("text", 10**6).hidden
    )
    assert Options(minutes=20, hidden=64).resolve("text", 10**6).hidden == 64


@pytest.mark.parametrize(
    ("product", "hidden", "precision"), [("avx512", 384, "bf16"), ("portable", 256, "float32")]
)
def test_bf16_is_chosen_where_the_cpu_has_it_and_there_is_time(monkeypatch, product, hidden, precision):
    monkeypatch.setattr(target, "target", lambda bits: target.Target(bits, 16, 32, product))
    few_minutes = Options(minutes=3).resolve("text", 10**6)
    assert (few_minutes.hidden, few_minutes.precision) == (hidden, precision)
    assert Options(minutes=3, precision="float32").resolve("text", 10**6).precision == "float32"
    assert Options(minutes=3, dtype="float64").resolve("text", 10**6).precision == "float64"
    assert Options(minutes=20).resolve("text", 10**6).precision == "float32"
    assert Options(minutes=20).resolve("text", 10**7).precision == precision
    assert Options(minutes=1).resolve("text", 10**6).precision == "float32"
    assert Options().resolve("text", 10**6).precision == "float32"


def test_a_resumed_run_may_change_some_options_and_names_the_others():
    stored = Options(epochs=5).resolve("names", 1000)
    assert stored.changed({"lr": 0.1, "threads": 1}).lr == 0.1
    assert stored.changed({"steps": 99}).epochs is None
    assert stored.changed({"hidden": stored.hidden}) == stored
    with pytest.raises(FastLSTMError, match="hidden is 256 in this run and cannot become 128"):
        stored.changed({"hidden": 128})
    with pytest.raises(FastLSTMError, match="seed"):
        stored.changed({"lr": 0.1, "seed": 1})
    with pytest.raises(FastLSTMError, match="minutes"):
        stored.changed({"minutes": 3})


def test_stored_options_come_back_and_unknown_ones_are_passed_over():
    o = Options(hidden=3, validation=1000, kind="text", tied=True)
    assert Options.from_dict({**o.as_dict(), "from_the_future": 1}) == o


def test_the_command_that_repeats_a_run():
    o = Options(minutes=20, tied=True, lowercase=False, column="First Name").resolve("names", 500)
    words = shlex.split(o.command("my names.csv", 500, 777))
    assert words[:5] == ["fastlstm", "train", "my names.csv", "--as", "names"]
    assert words[words.index("--steps") + 1] == "777"
    assert words[words.index("--column") + 1] == "First Name"
    assert {"--tied", "--no-lowercase"} <= set(words)
    assert not {"--minutes", "--epochs", "--lr", "--hidden"} & set(words)


def test_flags_are_spelled_with_dashes():
    assert [flag("kind"), flag("clip_norm"), flag("lowercase", False)] == [
        "--as",
        "--clip-norm",
        "--no-lowercase",
    ]


def test_keywords_are_the_options_with_their_types_and_defaults():
    taken = {option.name: option for option in fields(Options) if option.name not in OF_FILES}
    assert {name: of.__forward_arg__ for name, of in Keywords.__annotations__.items()} == {
        name: option.type for name, option in taken.items()
    }
    constructor, fit = (inspect.signature(f).parameters for f in (fl.CharLM, fl.CharLM.fit))
    assert {name: p.default for name, p in constructor.items()} == {
        name: option.default for name, option in taken.items()
    }
    own = ["self", "data", "on_record", "out", "comm", "progress"]
    assert list(fit) == [*own, *taken]
    assert {fit[name].default for name in taken} == {...}
    for name in taken:
        assert f"\n    {name}: " in (fl.CharLM.__doc__ or "")
