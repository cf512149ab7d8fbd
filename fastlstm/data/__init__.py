"""From bytes to batches: read → encode → split → batch.

Uses `engine` for its compiled passes. Enter by `opening`, which decides what a file or a Python object is; a
`feeds.Feed` is what the room hands on: a split data set that deals batches from any position.
"""
