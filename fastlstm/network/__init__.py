"""What is computed: the LSTM layer over arrays, and the language model built of it with its optimisers.

Uses `engine`. Enter by `lstm` for arrays and by `model.Network` for the model; `reference` says the same in plain
NumPy, one step and one gate at a time, and is what the tests compare everything with.
"""
