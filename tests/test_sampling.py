from __future__ import annotations

import itertools
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from sample_models import (
    mix,
    naive_logits,
    naive_names,
    naive_probabilities,
    naive_sample,
    naive_uniform,
    small_model,
)
from scipy.stats import chisquare

from fastlstm.data.novelty import NameIndex
from fastlstm.data.vocabulary import Vocabulary
from fastlstm.errors import FastLSTMError
from fastlstm.generation.drawing import Rules, pick, stream_keys, uniforms
from fastlstm.generation.request import Request
from fastlstm.generation.sampling import generate, stream
from fastlstm.generation.stream import start, step

DRAWS = 1_000_000
CONTROLS = [
    {},
    {"temperature": 0.7},
    {"top_k": 2},
    {"top_p": 0.8},
    {"temperature": 1.3, "top_k": 3, "top_p": 0.9},
]
ARCHITECTURES = [
    {},
    {"embedding": 0},
    {"layers": 2},
    {"layers": 3, "embedding": 0, "learned_state": True, "hidden": 9},
    {"embedding": 5, "tied": True, "learned_state": True},
    {"hidden": 1},
]
NO_STOP = np.zeros(0, np.int32)


def rules_of(temperature: float = 1.0, top_k: int | None = None, top_p: float = 1.0, V: int = 4) -> Rules:
    none = np.zeros(1, np.int64)
    return Rules(temperature, top_k or V, top_p, 0, NO_STOP, none, none)


# The choice of one character


def test_uniform_numbers_are_the_documented_ones() -> None:
    assert mix(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF  # SplitMix64's first number from state 0
    for seed in (0, 1, 2**64 - 1):
        sequences = [0, 1, 5, 3 << 40]
        numbers = uniforms(stream_keys(seed, np.array(sequences, np.uint64)), 4)
        assert numbers.tolist() == [[naive_uniform(seed, s, t) for s in sequences] for t in range(4)]


def test_uniform_numbers_are_uniform_along_and_across_sequences() -> None:
    numbers = uniforms(stream_keys(7, np.arange(1000)), 1000)
    for counts in (np.histogram(numbers, 100, (0, 1))[0], np.histogram(numbers[0], 20, (0, 1))[0]):
        assert chisquare(counts).pvalue > 1e-3
    for a, b in ((numbers[:-1], numbers[1:]), (numbers[:, :-1], numbers[:, 1:])):
        pairs = np.histogram2d(a.ravel(), b.ravel(), 20, ((0, 1), (0, 1)))[0]
        assert chisquare(pairs.ravel()).pvalue > 1e-3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("banned", [False, True])
@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    list(itertools.product([0, 0.05, 1, 3], [None, 1, 3, 100], [1.0, 0.9, 0.3, 1e-9])),
)
def test_choice_follows_its_definition(
    dtype: str, banned: bool, temperature: float, top_k: int | None, top_p: float
) -> None:
    rng = np.random.default_rng(5)
    logits = rng.normal(0, 2, (60, 7)).round(1).astype(dtype)  # rounded, so that many are equal
    keys = stream_keys(11, np.arange(60))
    chosen = pick(logits, keys, 2, np.full(60, banned), rules_of(temperature, top_k, top_p, 7))
    for row, u, id in zip(logits, uniforms(keys, 3)[2], chosen, strict=True):
        p = naive_probabilities(row, temperature, top_k, top_p, 0 if banned else -1)
        assert id == (np.cumsum(p) > u * np.cumsum(p)[-1]).argmax()


def test_equal_logits_are_ranked_by_id() -> None:
    logits, keys = np.zeros((4000, 6)), stream_keys(0, np.arange(4000))
    short = np.zeros(4000, bool)
    assert set(pick(logits, keys, 0, short, rules_of(0, V=6))) == {0}
    assert set(pick(logits, keys, 0, ~short, rules_of(0, V=6))) == {1}
    assert set(pick(logits, keys, 0, short, rules_of(1, 3, V=6))) == {0, 1, 2}
    assert set(pick(logits, keys, 0, short, rules_of(1, None, 0.5, V=6))) == {0, 1, 2}
    assert set(pick(logits, keys, 0, ~short, rules_of(1, 3, V=6))) == {1, 2, 3}


def test_extreme_logits_and_temperatures_choose_the_possible() -> None:
    keys, short = stream_keys(0, np.arange(500)), np.zeros(500, bool)
    for dtype, huge in (("float32", 3e38), ("float64", 1e308)):
        logits = np.tile(np.array([-huge, huge, 0, -1], dtype), (500, 1))
        for temperature in (0, 5e-324, 1e-10, 1, 1e10):
            assert set(pick(logits, keys, 0, short, rules_of(temperature))) == {1}
    assert set(pick(np.tile([1.0, 2, 3, 4], (500, 1)), keys, 0, short, rules_of(1e300))) == {0, 1, 2, 3}


# Whole names: the distribution, and the same names whatever the batch


def chance(counts: dict[str, int], probabilities: dict[str, float]) -> float:
    """Pearson's chi-square: the chance of counts at least this far off; the rarest are pooled."""
    expected = np.array(list(probabilities.values())) * DRAWS
    observed = np.array([counts[name] for name in probabilities])
    common = expected > 20
    rest = DRAWS - expected[common].sum()
    pools = [(observed[common], expected[common])]
    if rest > 20:
        pools.append((observed[~common].sum(keepdims=True), np.array([rest])))
    observed, expected = (np.concatenate(arrays) for arrays in zip(*pools, strict=True))
    return float(chisquare(observed, expected * observed.sum() / expected.sum()).pvalue)


@pytest.mark.parametrize("controls", CONTROLS, ids=str)
def test_frequencies_of_a_million_names_are_the_exact_probabilities(controls: dict[str, Any]) -> None:
    model = small_model(dtype="float32", scale=6)
    names = generate(model, DRAWS, seed=1, max_length=3, batch_size=DRAWS, **controls)
    exact = naive_names(model, 3, **controls)
    counts = dict.fromkeys(exact, 0)
    for name in names:
        counts[name] += 1
    assert not any(counts[name] for name, p in exact.items() if p == 0)
    assert chance(counts, exact) > 1e-3
    # The same test sees a temperature that is wrong by one part in twenty.
    wrong = naive_names(model, 3, **{**controls, "temperature": controls.get("temperature", 1) * 1.05})
    assert chance(counts, wrong) < 1e-6


@pytest.mark.parametrize("options", ARCHITECTURES, ids=str)
@pytest.mark.parametrize("kind", ["names", "text"])
def test_batched_is_one_at_a_time(options: dict[str, Any], kind: str) -> None:
    model = small_model(kind=kind, **options)
    if kind == "names":
        for prefix in ("", "ca"):
            names = generate(model, 30, seed=4, prefix=prefix, max_length=9, temperature=1.2)
            longest = 9 - len(prefix)
            assert names == [
                naive_sample(model, 4, s, prefix, 1 - bool(prefix), longest, temperature=1.2)
                for s in range(30)
            ]
    else:
        texts = generate(model, 3, seed=4, prefix="bac", length=40, top_k=2)
        assert texts == [naive_sample(model, 4, s, "bac", longest=40, top_k=2) for s in range(3)]


@pytest.mark.parametrize(
    "controls",
    [
        {"stop": "ab"},
        {"min_length": 3, "max_length": 4},
        {"max_length": 1},
        {"prefixes": ["", "c", "ab"], "top_k": 2, "max_length": 6},
        {"temperature": 0.0},
    ],
)
@pytest.mark.parametrize("layers", [1, 2])
def test_names_that_begin_alike_are_drawn_as_if_alone(controls: dict[str, Any], layers: int) -> None:
    model = small_model(hidden=65, layers=layers, dtype="float32", scale=1)
    alone = generate(model, 300, seed=4, batch_size=1, **controls)
    assert generate(model, 300, seed=4, **controls) == alone
    assert generate(model, 300, seed=4, threads=3, batch_size=37, **controls) == alone


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_names_depend_on_the_seed_alone(dtype: str) -> None:
    model = small_model(dtype=dtype, hidden=33)
    names = generate(model, 500, seed=9)
    for batch_size in (1, 7, 100):
        assert generate(model, 500, seed=9, batch_size=batch_size) == names
    for threads in (1, 2, 3):
        assert generate(model, 500, seed=9, threads=threads) == names
    assert generate(model, 120, seed=9) == names[:120]
    assert generate(model, 500, seed=10) != names
    assert generate(model, 50) != generate(model, 50)


def test_calls_from_several_threads_do_not_disturb_each_other() -> None:
    models = [small_model(hidden=40), small_model(hidden=40, layers=2, embedding=0)]
    expected = [generate(model, 300, seed=1) for model in models]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda k: generate(models[k % 2], 300, seed=1, threads=1 + k % 3), range(24)))
    assert found == expected * 12


def test_sampling_sees_the_present_weights() -> None:
    model = small_model()
    before = generate(model, 50, seed=1)
    weights = model.network.parameters["head.W"]
    weights[...] = -weights
    assert generate(model, 50, seed=1) != before
    weights[...] = -weights
    assert generate(model, 50, seed=1) == before


@pytest.mark.parametrize("vocabulary", [1, 15, 16, 17, 300])
@pytest.mark.parametrize("hidden", [7, 16, 40])
def test_sizes_around_the_width_of_vectors(vocabulary: int, hidden: int) -> None:
    model = small_model([chr(0x4E00 + i) for i in range(vocabulary)], hidden=hidden, scale=1)
    names = generate(model, 60, seed=2, max_length=12, top_k=9, top_p=0.95)
    for n in (0, 31, 59):
        assert names[n] == naive_sample(model, 2, n, longest=12, top_k=9, top_p=0.95)


def test_each_prefix_has_a_stream_of_its_own() -> None:
    model = small_model()
    prefixes = ["", "a", "bc", "a", "abcabcabc"]
    names = generate(model, 40, prefixes=prefixes, seed=2)
    for batch_size in (1, 33, 64):
        assert generate(model, 40, prefixes=prefixes, seed=2, batch_size=batch_size) == names
    blocks = [names[k : k + 40] for k in range(0, 200, 40)]
    for prefix, block in zip(prefixes, blocks, strict=True):
        assert all(name.startswith(prefix) for name in block)
    assert blocks[0] == generate(model, 40, seed=2)
    assert blocks[1] != blocks[3]
    unique = {"unique": True, "seed": 2, "prefixes": ["a", "ab", "abc"]}
    wanted = generate(model, 15, **unique)
    assert len(set(wanted)) == len(wanted) == 45
    assert wanted == generate(model, 15, **unique, batch_size=4)


# Controls


def test_lengths_are_kept() -> None:
    model = small_model(scale=1)
    free = generate(model, 400, seed=0)
    assert min(map(len, free)) == 1
    assert len(set(map(len, free))) > 4
    names = generate(model, 400, seed=0, min_length=3, max_length=5)
    assert {len(name) for name in names} == {3, 4, 5}
    assert {len(name) for name in generate(model, 400, seed=0, min_length=3, prefix="ab")} > {3, 4}
    assert [len(name) for name in generate(model, 9, seed=0, min_length=130)] >= [130] * 9
    assert generate(model, 2, prefix="abc", max_length=3) == ["abc", "abc"]
    assert "" in generate(model, 400, seed=0, min_length=0)
    # A limit changes nothing before it is reached.
    cut = generate(model, 400, seed=0, max_length=4)
    assert cut == [name[:4] for name in free]


def test_greedy_takes_the_most_probable_character() -> None:
    model = small_model()
    name = generate(model, 3, temperature=0, max_length=6)
    ids: list[int] = []
    while len(ids) < 6:
        logits = naive_logits(model, [0, *ids])
        best = int(logits.argmax()) if ids else 1 + int(logits[1:].argmax())
        if not best:
            break
        ids.append(best)
    assert name == [model.vocabulary.decode(ids)] * 3
    assert name == generate(model, 3, top_k=1, max_length=6)


@pytest.mark.parametrize("text", ["a", "bc", "aab"])
def test_stop_text_ends_and_is_left_out(text: str) -> None:
    model = small_model(kind="text", scale=1)
    whole = generate(model, 40, seed=3, length=60)
    stopped = generate(model, 40, seed=3, length=60, stop=text)
    assert stopped == [w.partition(text)[0] for w in whole]
    assert any(len(s) < 60 for s in stopped)
    prefixed = generate(model, 5, seed=3, length=60, prefix=text, stop=text)
    assert all(p.startswith(text) for p in prefixed), "a stop text inside the prefix does not count"
    for keywords in ({"stop": text}, {"stop": text, "prefix": "cb"}, {"prefix": "cab"}):
        pieces = list(stream(model, seed=3, length=60, **keywords))
        assert "".join(pieces) == generate(model, 1, seed=3, length=60, **keywords)[0]


def test_stream_shows_characters_as_soon_as_they_are_certain() -> None:
    model = small_model(kind="text")
    pieces = stream(model, seed=0, length=30, prefix="ab")
    assert next(pieces) == "ab"
    assert [len(piece) for piece in itertools.islice(pieces, 30)] == [1] * 30
    assert "".join(stream(small_model(), seed=1)) == generate(small_model(), 1, seed=1)[0]


def test_prefix_is_read_like_the_training_data() -> None:
    model = small_model("aceå")
    assert all(name.startswith("åc") for name in generate(model, 5, prefix="A\u030aC"))
    with pytest.raises(FastLSTMError, match=r"prefix 'azbz'.*'b'.*'z'"):
        generate(model, 5, prefix="aZbZ")
    long = generate(model, 2, prefix="ace" * 700, seed=1)
    assert all(name.startswith("ace" * 700) for name in long)


@pytest.mark.parametrize(
    "vocabulary", [Vocabulary("\n ab", boundary=False), Vocabulary("abc\u00e9", boundary=False, start="c")]
)
@pytest.mark.parametrize("prefix", ["", "ab", "\n"])
def test_texts_begin_after_the_newline_or_the_start_and_so_do_their_prefixes(
    vocabulary: Vocabulary, prefix: str
) -> None:
    model = small_model("wxyz", kind="text")
    model.vocabulary = vocabulary
    if prefix == "\n" and "\n" not in vocabulary.characters:
        prefix = "c"
    texts = generate(model, 6, seed=5, length=20, prefix=prefix)
    assert texts == [naive_sample(model, 5, s, prefix, longest=20) for s in range(6)]


# Novelty


def test_novel_names_are_the_others_of_the_same_stream() -> None:
    model = small_model()
    stream_of_names = generate(model, 3000, seed=6)
    model.index = NameIndex(dict.fromkeys(stream_of_names[:40:2], 1))
    avoided = stream_of_names[5].upper()
    banned = {*model.index, avoided.lower()}
    expected = [name for name in stream_of_names if name not in banned][:60]
    for batch_size in (1, 50, 4096):
        assert generate(model, 60, seed=6, novel=True, avoid=[avoided], batch_size=batch_size) == expected
    assert generate(model, 60, seed=6, novel=model.index, avoid=[avoided]) == expected
    unique = list(dict.fromkeys(stream_of_names))[:60]
    assert generate(model, 60, seed=6, unique=True) == unique


def test_a_request_that_cannot_be_met_ends() -> None:
    model = small_model()
    everything = ["a", "b", "c"]
    assert sorted(generate(model, 20, seed=0, unique=True, max_length=1)) == everything
    assert generate(model, 20, seed=0, avoid=everything, max_length=1) == []
    assert len(generate(model, 5, seed=0, unique=True, max_length=1, prefixes=["", "a"])) == 3
    assert len(generate(model, 5, temperature=0, unique=True)) == 1
    few = generate(model, 100, seed=0, avoid=["a", "b"], max_length=1, tries=1)
    assert 0 < len(few) < 100
    assert set(few) == {"c"}


def test_names_that_look_the_same_are_the_same() -> None:
    model = small_model("a\u030a ")
    drawn = generate(model, 300, seed=0, max_length=3)
    assert "a\u030a" in drawn
    assert not {"a\u030a", "a\u030a "} & set(generate(model, 300, seed=0, max_length=3, avoid=["Å"]))


# What is refused


@pytest.mark.parametrize("kind", [float, np.float16, np.float32, np.float64])
def test_numbers_are_taken_whatever_their_type(kind: type) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = generate(small_model(), temperature=kind(0.5), top_p=kind(0.5))
    assert drawn == generate(small_model(), temperature=0.5, top_p=0.5)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"n": 0}, "n is 0"),
        ({"n": 1.5}, "n is 1.5"),
        ({"n": True}, "n is True"),
        ({"temperature": -1}, "temperature is -1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"temperature": np.float32("inf")}, "temperature is .*inf"),
        ({"temperature": 10**400}, "temperature is 1000"),
        ({"top_k": 0}, "top_k is 0"),
        ({"top_p": 0}, "top_p is 0"),
        ({"top_p": 1.01}, "top_p is 1.01"),
        ({"top_p": float("nan")}, "top_p is nan"),
        ({"min_length": -1}, "min_length is -1"),
        ({"max_length": 0}, "max_length is 0"),
        ({"min_length": 5, "max_length": 4}, "min_length 5 is more than max_length 4"),
        ({"prefix": "abc", "max_length": 2}, "prefix 'abc' is longer than max_length 2"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**64}, "seed is 18446744073709551616"),
        ({"tries": 0}, "tries is 0"),
        ({"threads": 0}, "threads is 0"),
        ({"prefixes": []}, "prefixes"),
        ({"prefixes": "ab"}, "prefixes"),
        ({"prefix": "a", "prefixes": ["b"]}, "prefixes"),
        ({"stop": "x"}, "stop 'x'"),
        ({"length": 5}, "length is for models of text"),
        ({"novel": True}, "index"),
    ],
    ids=str,
)
def test_bad_requests_are_refused(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(FastLSTMError, match=message):
        generate(small_model(), **keywords)


@pytest.mark.parametrize("keyword", ["min_length", "max_length", "novel", "unique"])
def test_what_is_for_names_is_refused_for_text(keyword: str) -> None:
    with pytest.raises(FastLSTMError, match=f"{keyword} is for models of names"):
        generate(small_model(kind="text"), 1, **{keyword: 3 if "length" in keyword else True})


def test_stream_refuses_to_choose_among_names() -> None:
    for keyword in ("unique", "prefixes"):
        with pytest.raises(FastLSTMError, match="use generate"):
            next(stream(small_model(), **{keyword: ["a"]}))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_diverged_model_is_refused(bad: float) -> None:
    model = small_model()
    model.network.parameters["head.b"][2] = bad
    for temperature in (0, 1):
        with pytest.raises(FastLSTMError, match="not finite"):
            generate(model, 3, temperature=temperature)


def test_requests_are_checked_before_a_model_is_asked() -> None:
    assert Request(n=3, seed=2**64 - 1, top_p=1, temperature=0).limit == 3
    assert Request(n=3, unique=True, tries=7).limit == 21


# The state API


@pytest.mark.parametrize("options", ARCHITECTURES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_step_is_the_network_one_character_at_a_time(options: dict[str, Any], dtype: str) -> None:
    model = small_model(**options, dtype=dtype)
    ids = np.random.default_rng(0).integers(0, model.vocabulary.size, (5, 3))
    state = start(model, 3)
    for t, row in enumerate(ids):
        logits = step(state, row)
        assert logits.dtype == dtype
        for b in range(3):
            naive = naive_logits(model, ids[: t + 1, b].tolist())
            np.testing.assert_allclose(logits[b], naive, rtol=0, atol=2e-5 if dtype == "float32" else 1e-12)


def test_states_branch_and_restart() -> None:
    model = small_model(learned_state=True, layers=2)
    state = start(model, 3)
    first = step(state, [0, 1, 2])
    branch = state.copy()
    onward = step(state, [1, 1, 1])
    np.testing.assert_array_equal(step(branch, [1, 1, 1]), onward)
    swapped = branch.take([2, 0, 0, 1])
    assert swapped.batch == 4
    again = step(swapped, [3, 3, 3, 3])
    np.testing.assert_array_equal(again[[1, 3, 0]], step(branch, [3, 3, 3]))
    state.reset([1])
    np.testing.assert_array_equal(step(state, [1, 1, 1])[1], first[1])
    state.reset()
    np.testing.assert_array_equal(step(state, [0, 1, 2]), first)
    assert branch.take([]).batch == 0


def test_a_state_keeps_the_weights_it_was_started_with() -> None:
    model = small_model()
    state, other = start(model), start(model)
    before = step(state, [0])
    model.network.parameters.flat[:] *= 2
    np.testing.assert_array_equal(step(other, [0]), before)
    assert (step(start(model), [0]) != before).any()


@pytest.mark.parametrize("ids", [[0], [0, 1, 2], [[0, 1]], [0.0, 1.0], [0, 4], [-1, 0]], ids=str)
def test_step_refuses_other_ids(ids: Any) -> None:
    with pytest.raises(FastLSTMError, match="ids are"):
        step(start(small_model(), 2), ids)


def test_states_refuse_other_rows_and_batches() -> None:
    state = start(small_model(), 2)
    for rows in ([2], [-1], [0.5], [[0]]):
        with pytest.raises(FastLSTMError, match="rows are"):
            state.reset(rows)
    for batch in (0, 1.5):
        with pytest.raises(FastLSTMError, match="batch is"):
            start(small_model(), batch)
