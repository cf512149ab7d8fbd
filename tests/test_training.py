"""The loop against its obvious twin, what it reports, when it stops, and the data it is fed with."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from small_runs import session, some_names, some_text

from fastlstm.data.batching import Part
from fastlstm.data.feeds import TextFeed
from fastlstm.data.names import Names
from fastlstm.data.opening import as_data, open_data
from fastlstm.data.texts import Text
from fastlstm.errors import FastLSTMError
from fastlstm.network.architecture import State
from fastlstm.network.model import Metrics, Network
from fastlstm.training import budget, defaults
from fastlstm.training import session as session_module
from fastlstm.training.building import make_network, make_optimizer
from fastlstm.training.evaluation import Scores, Tally, evaluate_held_out, evaluate_names, evaluate_text
from fastlstm.training.options import Options
from fastlstm.training.session import Diverged, Session, train
from fastlstm.training.starting import Start


def naive(session):
    """The same run written out: every epoch, every batch, one step after another."""
    feed = session.feed
    network = make_network(session.options, session.vocabulary)
    optimizer, step, losses = make_optimizer(session.options, network), 0, []
    for epoch in itertools.count():
        state = None
        for batch in feed.batches(epoch, 0):
            if step == session.total:
                return network, losses
            key = (session.options.seed << 32) + step
            rate = session.schedule.rate(step)
            metrics, state = network.step(
                batch.ids, batch.targets, optimizer, rate, batch.lengths, state if feed.carried else None, key,
                fresh=None if state is None else batch.fresh,
            )  # fmt: skip
            losses.append(metrics.loss)
            step += 1
    raise AssertionError


@pytest.mark.parametrize("kind", ["names", "text"])
def test_the_loop_is_step_after_step(kind):
    s = session(kind, steps=70, seed=5, restarts=0.3, average=0.1)
    assert s.feed.steps_per_epoch < 35
    expected, losses = naive(s)
    assert [record.loss for record in train(s)] == losses
    assert s.learner.parameters.flat.tobytes() == expected.parameters.flat.tobytes()
    assert s.network.parameters.flat.tobytes() != expected.parameters.flat.tobytes()


def test_the_model_is_the_mean_of_the_weights_and_without_it_the_last_ones():
    """Averaging changes nothing in what is trained; the mean is what is validated."""
    averaged, plain = session(steps=40, average=0.25), session(steps=40, average=0.0)
    mean = averaged.network.parameters.flat.astype(np.float64)
    for n, (ours, theirs) in enumerate(zip(train(averaged), train(plain), strict=True), 1):
        assert ours.loss == theirs.loss
        mean += min(1, 1 / (0.25 * n)) * (plain.network.parameters.flat - mean)
    assert plain.learner is plain.network
    assert np.array_equal(averaged.learner.parameters.flat, plain.network.parameters.flat)
    np.testing.assert_allclose(averaged.network.parameters.flat, mean, atol=1e-6)
    assert averaged.position.best == evaluate_held_out(averaged.network, averaged.feed)


@pytest.mark.parametrize("kind", ["names", "text"])
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(kind):
    first, same, other = (session(kind, seed=seed) for seed in (1, 1, 2))
    for s in (first, same, other):
        for _ in train(s):
            pass
    assert first.network.parameters.flat.tobytes() == same.network.parameters.flat.tobytes()
    assert first.network.parameters.flat.tobytes() != other.network.parameters.flat.tobytes()


def test_records_count_and_the_loss_falls():
    s = session(epochs=30, lr=0.02)
    records = list(train(s))
    assert [r.step for r in records] == list(range(1, s.total + 1))
    assert s.total == 30 * s.feed.steps_per_epoch
    reports = [r for r in records if r.train]
    assert [r.epoch for r in reports] == list(range(1, 31))
    assert reports[-1].train.loss < 0.7 * reports[0].train.loss
    assert records[-1].seconds >= records[0].seconds > 0
    assert sum(r.characters for r in records[: s.feed.steps_per_epoch]) == reports[0].train.characters


def test_training_scores_are_means_since_the_last_validation():
    s = session(steps=20, validate_every=10, log_every=4, dropout=0.0)
    records = list(train(s))
    assert [r.step for r in records if r.train] == [4, 8, 10, 14, 18, 20]
    assert [r.step for r in records if r.validation] == [10, 20]
    weighted = [(r.loss * r.characters, r.characters) for r in records[10:18]]
    assert records[17].train.loss == pytest.approx(sum(a for a, _ in weighted) / sum(b for _, b in weighted))


def test_validation_scores_are_those_of_the_network_at_that_step():
    s = session("text", steps=7, validate_every=7)
    *_, last = train(s)
    assert last.validation == evaluate_held_out(s.network, s.feed)
    assert last.best
    assert (s.position.best_step, s.position.best) == (7, last.validation)


def test_the_last_step_is_validated_wherever_it_falls():
    s = session(steps=5, validate_every=3)
    assert [r.step for r in train(s) if r.validation] == [3, 5]


def test_without_validation_the_newest_weights_are_the_best():
    s = session(validation=0, epochs=2)
    reports = [r for r in train(s) if r.train]
    assert [(r.validation, r.best) for r in reports] == [(None, True)] * 2
    assert s.position.best is None
    assert s.position.best_step == s.total


def test_patience_ends_a_run_that_no_longer_improves(monkeypatch):
    s = session(epochs=9, patience=3)
    losses = iter([3.0, 2.0, 2.5, 1.9, 2.0, 1.9, 2.1, 0.1])
    monkeypatch.setattr(session_module, "evaluate_held_out", lambda *_: Scores(next(losses), 0.5, 10))
    reports = [r for r in train(s) if r.validation]
    assert [r.validation.loss for r in reports] == [3.0, 2.0, 2.5, 1.9, 2.0, 1.9, 2.1]
    assert [r.best for r in reports] == [True, True, False, True, False, False, False]
    assert s.position.stopped
    assert s.finished
    assert s.position.best_step == 4 * s.feed.steps_per_epoch
    assert list(train(s)) == []


def test_the_state_is_carried_within_an_epoch_and_dropped_at_its_end(monkeypatch):
    s = session("text", epochs=2)
    given = []
    real = Network.step

    def step(
        network, ids, targets, optimizer, rate, lengths=None, state=None, dropout_key=None, *rest, **more
    ):
        given.append((state, dropout_key))
        return real(network, ids, targets, optimizer, rate, lengths, state, dropout_key, *rest, **more)

    monkeypatch.setattr(Network, "step", step)
    for _ in train(s):
        pass
    W = s.feed.steps_per_epoch
    assert [i for i, (state, _) in enumerate(given) if state is None] == [0, W]
    keys = [key for _, key in given]
    assert len(set(keys)) == len(keys) == 2 * W


def test_nothing_dropped_needs_no_key():
    assert session(dropout=0.0).dropout_key is None
    assert session(dropout=0.0, embedding_dropout=0.1).dropout_key is not None
    assert session(dropout=0.1, seed=1).dropout_key != session(dropout=0.1, seed=2).dropout_key


@pytest.mark.parametrize(
    ("metrics", "says"),
    [
        (Metrics(math.nan, 0, 9, math.nan), "the loss became nan"),
        (Metrics(math.inf, 0, 9, 1.0), "the loss became inf"),
        (Metrics(2.0, 0, 9, math.nan), "the gradient's norm became nan"),
        (Metrics(1e5, 0, 9, 1.0), "the loss exploded to 1e[+]05 nats a character"),
    ],
)
def test_a_diverging_run_stops_with_step_rate_and_advice(monkeypatch, metrics, says):
    s = session(epochs=9, lr=0.01, schedule="constant")
    records = train(s)
    for _ in range(5):
        next(records)
    monkeypatch.setattr(Network, "step", lambda *_, **__: (metrics, State(np.zeros(1), np.zeros(1))))
    with pytest.raises(Diverged, match=f"{says} at step 6 of .* learning rate 0.01.* lower lr"):
        list(records)


def test_a_slow_explosion_is_seen_too():
    s = session(optimizer="sgd", lr=300.0, schedule="constant", clip_norm=0, steps=300)
    with pytest.raises(Diverged, match=r"exploded|became"):
        list(train(s))


def test_a_validation_that_is_not_finite_stops_the_run(monkeypatch):
    s = session(epochs=2)
    monkeypatch.setattr(session_module, "evaluate_held_out", lambda *_: Scores(math.nan, 0.0, 10))
    with pytest.raises(Diverged, match="validation loss became nan"):
        list(train(s))


def test_training_is_silent(capfd):
    list(train(session(epochs=1)))
    assert capfd.readouterr() == ("", "")


def test_scores_in_every_unit():
    scores = Scores(math.log(4), 0.5, 10)
    assert scores.perplexity == pytest.approx(4)
    assert scores.bits_per_character == pytest.approx(2)
    assert Scores(1e4, 0.0, 1).perplexity == math.inf
    tally = Tally()
    tally.add(Metrics(1.0, 1, 1))
    tally.add(Metrics(4.0, 0, 2))
    assert tally.scores == Scores(3.0, 1 / 3, 3)


def test_a_text_is_evaluated_as_if_read_in_one_go(monkeypatch):
    """Many streams, each begun from the one before's end, come close to a single stream; cold ones do not."""
    s = session("text", epochs=20, lr=0.02)
    for _ in train(s):
        pass
    ids = np.asarray(s.feed.data.ids(s.vocabulary)[:1025])
    one, _ = s.network.evaluate(ids[:-1, None], ids[1:, None])
    monkeypatch.setattr("fastlstm.training.evaluation.STREAM_CHARACTERS", 64)
    many = evaluate_text(s.network, ids)
    assert many.characters == 1024
    assert many.loss == pytest.approx(one.loss, rel=1e-4)
    cold, _ = s.network.evaluate(*(a.reshape(16, 64).T for a in (ids[:-1], ids[1:])))
    assert abs(cold.loss - one.loss) > 10 * abs(many.loss - one.loss)


def test_names_are_evaluated_one_by_one_or_in_batches_alike():
    s = session(epochs=1)
    list(train(s))
    batches = s.feed._batches
    whole = evaluate_names(s.network, batches)
    batches.batch_size = 1
    assert evaluate_names(s.network, batches).loss == pytest.approx(whole.loss, rel=1e-5)


def test_a_feed_begins_anywhere_in_an_epoch():
    for kind in ("names", "text"):
        fed = session(kind).feed
        whole = [batch.ids.tolist() for batch in fed.batches(3, 0)]
        assert [batch.ids.tolist() for batch in fed.batches(3, 2)] == whole[2:]
        assert len(whole) == fed.steps_per_epoch
    assert [b.ids.tolist() for b in session().feed.batches(4, 0)] != [
        b.ids.tolist() for b in session().feed.batches(3, 0)
    ]


def test_streams_begin_anew_as_often_as_asked_for_and_alike_in_all_parts():
    text = Text.from_string(some_text(2000))
    vocabulary = text.vocabulary()
    feeds = [
        TextFeed(text, vocabulary, 6, 0, 8, seed=4, restarts=0.2, part=part)
        for part in (Part(), Part(0, 2), Part(1, 2))
    ]
    fresh = []
    for whole, *parts in zip(*(feed.batches(2, 1) for feed in feeds), strict=True):
        masks = [np.zeros(b.ids.shape[1], bool) if b.fresh is None else b.fresh for b in (whole, *parts)]
        assert masks[0].tolist() == [*masks[1].tolist(), *masks[2].tolist()]
        fresh.append(masks[0])
    assert np.mean(fresh) == pytest.approx(0.2, abs=0.04)
    assert len(fresh) > 150
    assert all(batch.fresh is None for batch in TextFeed(text, vocabulary, 6, 0, 8).batches(0, 0))


def test_minutes_become_the_steps_that_fit(monkeypatch):
    """A clock that only steps and validations move: the run ends within the time, and close to it."""
    now = [0.0]
    step, evaluate = 0.010, 0.200
    monkeypatch.setattr(budget, "perf_counter", lambda: now[0])
    s = session(steps=10)

    def timed_step(self, *_, **__):
        now[0] += step
        return Metrics(3.0, 0, 1, 1.0), None

    def timed_evaluation(network, feed, most, _):
        now[0] += evaluate * most / 10
        return Scores(3.0, 0.0, s.feed.held_out_characters * most // 10)

    monkeypatch.setattr(Network, "step", timed_step)
    monkeypatch.setattr(budget, "evaluate_held_out", timed_evaluation)
    now[0] = 0.0
    _, total = budget.planned(s.feed, lambda _: replace(s.options, steps=None, minutes=1.0))
    measuring = now[0]
    spent = measuring + total * step + (total // s.feed.steps_per_epoch + 1) * evaluate
    assert 55 < spent <= 60
    assert budget.planned(s.feed, lambda _: replace(s.options, steps=None, minutes=1e-6))[1] == 1


@pytest.mark.parametrize(("step", "hidden"), [(0.015, 384), (0.04, 256)])
def test_a_network_is_as_wide_as_this_machine_makes_enough_steps_of(monkeypatch, step, hidden):
    """The clock moves by `step` for 384 units, and by half of it for 256."""
    now = [0.0]
    monkeypatch.setattr(budget, "perf_counter", lambda: now[0])
    monkeypatch.setattr(defaults, "_multiplies_bf16", lambda dtype: True)
    monkeypatch.setattr(budget, "evaluate_held_out", lambda *_: None)

    def timed_step(self, *_, **__):
        now[0] += step if self.architecture.hidden == 384 else step / 2
        return Metrics(3.0, 0, 1, 1.0), None

    monkeypatch.setattr(Network, "step", timed_step)
    s = Session(as_data("to be, or not to be. " * 25_000, None), Options(minutes=3.0))
    assert s.options.hidden == s.network.architecture.hidden == hidden
    assert s.options.precision == "bf16"
    measuring, per_step = now[0], step if hidden == 384 else step / 2
    assert 170 < measuring + s.total * per_step <= 180


def test_data_of_every_python_kind():
    assert isinstance(as_data("a text", None), Text)
    assert isinstance(as_data(["a", "b"], None), Names)
    assert list(as_data(["Ada"], False)) == ["Ada"]
    assert list(as_data(iter(["Ada"]), None)) == ["ada"]
    names = Names(["x"])
    assert as_data(names, None) is names


def test_a_kept_vocabulary_refuses_what_it_lacks():
    s = session()
    with pytest.raises(FastLSTMError, match="'q'"):
        Session(Names(["qa", "anna"]), s.options, Start(s.vocabulary, ()))


def test_options_that_do_not_fit_the_kind_are_refused(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text(some_text())
    with pytest.raises(FastLSTMError, match="column is for names"):
        open_data(path, column="Name")
    with pytest.raises(FastLSTMError, match="characters limits a text"):
        Session(open_data(path, kind="names"), Options(characters=5))
    with pytest.raises(FastLSTMError, match="are names; give a file"):
        open_data(None, kind="text")
    assert isinstance(open_data(path, kind="names"), Names)


def test_a_limited_vocabulary_trains():
    s = session("text", characters=6, steps=3)
    assert s.vocabulary.size == 6
    assert len(list(train(s))) == 3


def test_one_held_out_character_is_refused():
    with pytest.raises(FastLSTMError, match="holds out one character"):
        session("text", validation=1)


def test_names_of_any_alphabet_train():
    s_names = Names(["Åsa", "groß", "子", "🙂🙃", *some_names(20)])
    s = Session(s_names, Options(hidden=4, embedding=2, steps=3, validation=0))
    assert {"å", "ß", "子", "🙂"} <= set(s.vocabulary.characters)
