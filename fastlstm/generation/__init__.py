"""From a model to names, texts, scores and reports.

Uses `data` and `network`. Enter by `sampling.generate` and `scoring`; `stream` feeds a model one character at a time.
"""
