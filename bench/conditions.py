"""What conditions bring: names by sex, with and without, and against a classifier made for it.

    pip install '.[plot]' scikit-learn
    python bench/conditions.py --set contrast=1                   the embedded names
    python bench/conditions.py NationalNames.csv --given Gender --given Year:10 --weight Count --steps 4000

From the same split and steps: held-out loss without conditions, under the true values and with all of them open; how often
the most probable value of the first condition is the true one on held-out names, and how often logistic regression on
character 1-4-grams with boundary marks finds it; and how often that regression calls drawn names by the value that they were
drawn under, beside how often it is right on rows of held-out names with that value, by their weights, as names are drawn.
"""

from __future__ import annotations

import copy
from dataclasses import fields
from typing import Any

import click
import numpy as np

from fastlstm.data.batching import NameBatches
from fastlstm.data.given import conditions_of
from fastlstm.data.names import Names
from fastlstm.data.opening import open_data
from fastlstm.generation.classification import log_posterior
from fastlstm.generation.sampling import generate
from fastlstm.training.evaluation import evaluate_held_out, evaluate_names
from fastlstm.training.options import Options
from fastlstm.training.session import Session, train


def trained(data: Names, steps: int, options: dict[str, str]) -> Session:
    """A session of the defaults, but for `options`, after so many steps, with the weights that it ends with."""
    converted = {f.name: f.metadata["convert"](options[f.name]) for f in fields(Options) if f.name in options}
    session = Session(data, Options(kind="names", steps=steps, **converted))
    for record in train(session):
        if record.validation:
            print(f"  step {record.step:,}: held out {record.validation.loss:.4f}", flush=True)
    return session


def without_values(names: Names) -> Names:
    """The same names, nothing given."""
    plain = copy.copy(names)
    plain.given = None
    return plain


def majority(names: Names, column: int) -> tuple[np.ndarray, np.ndarray]:
    """The value (N distinct,) that most of a name's rows or weight has, from 0, and each name's weight by value."""
    assert names.given is not None
    condition = names.given.conditions[column]
    mass = np.zeros((len(names.distinct), len(condition.values)))
    weights = np.ones(len(names)) if names.weights is None else names.weights
    np.add.at(mass, (names.rows, names.given.numbers[:, column] - 1), weights)
    return mass.argmax(1), mass


def regression(train_part: Names, weighted: bool) -> Any:
    """Logistic regression on a name's 1-4-grams, one row for each value that it has, weighted alike."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    _, mass = majority(train_part, 0)
    names, values = np.nonzero(mass)
    weights = mass[names, values] if weighted else np.ones(len(names))
    model = make_pipeline(
        CountVectorizer(analyzer="char", ngram_range=(1, 4)), LogisticRegression(max_iter=1000)
    )
    marked = [f"^{train_part.distinct[name]}$" for name in names]
    return model.fit(marked, values, logisticregression__sample_weight=weights / weights.mean())


@click.command()
@click.argument("path", required=False)
@click.option("--given", multiple=True, default=["Sex"])
@click.option("--weight")
@click.option("--steps", default=2616)
@click.option("--drawn", default=10000)
@click.option("--set", "chosen", multiple=True, help="An option of both trainings, as seed=1.")
def main(
    path: str | None,
    given: tuple[str, ...],
    weight: str | None,
    steps: int,
    drawn: int,
    chosen: tuple[str, ...],
) -> None:
    """Names with and without conditions; needs scikit-learn."""
    options = dict(each.split("=", 1) for each in chosen)
    data = open_data(path, kind="names", given=given, weight=weight)
    assert isinstance(data, Names)
    print(data.describe())
    print("without conditions")
    plain = without_values(data)
    baseline = trained(plain, steps, options)
    without = evaluate_held_out(baseline.network, baseline.feed)
    print("with conditions")
    session = trained(data, steps, options)
    under = evaluate_held_out(session.network, session.feed)
    held_out = session.feed.held_out
    vocabulary, conditions = session.vocabulary, session.feed.conditions
    open_ones = evaluate_names(
        session.network, NameBatches(without_values(held_out), vocabulary, 256, conditions)
    )
    print(
        f"held out: {without.loss:.4f} without, {under.loss:.4f} under the true values, {open_ones.loss:.4f} left open"
    )

    truth, mass = majority(held_out, 0)
    condition = conditions_of(session)[0]
    posterior = log_posterior(session, held_out.distinct, condition.title, prepared=True)
    ours = posterior.argmax(1)
    theirs = regression(session.feed.train, weight is not None)
    marked = [f"^{name}$" for name in held_out.distinct]
    guessed = theirs.predict(marked)
    for what, right in (("the LSTM", ours == truth), ("logistic regression", guessed == truth)):
        share = (right * mass.sum(1)).sum() / mass.sum()
        print(
            f"{condition.title} of held-out names, {what}: {right.mean():.2%} of distinct names, {share:.2%} by rows or weight"
        )
    for number, value in enumerate(condition.values):
        names = generate(session, drawn, given={condition.title: value}, seed=1)
        called = (theirs.predict([f"^{name}$" for name in names]) == number).mean()
        real = (guessed == number) @ mass[:, number] / mass[:, number].sum()
        print(f"drawn as {value}: called so {called:.2%}; held-out rows of it {real:.2%}")


if __name__ == "__main__":
    main()
