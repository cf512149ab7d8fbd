"""The five notebooks that fastlstm replaces: `zoo_a`, `zoo_b`, `kaggle`, `names` and `walkthrough`.

Each module has its notebook's classes and functions under their own names, argument orders and shapes, so
that the cell that defines them becomes an import and the cells after it run unchanged, with the mathematics
done right where the notebook's was not: each docstring says where that is.

Weights and draws come from NumPy's global generator, in the notebook's order, unless `rng=` is given.
"""
