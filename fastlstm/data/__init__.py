"""From bytes to batches: read → encode → split → batch.

Uses `engine` for its compiled passes. Two doors: `opening` decides what a file or a Python object is and reads it; when its
kind and size have settled what the options left open, `feeds.make_feed` encodes and splits it, and deals batches from any
position. README.md says what is guessed of a file.
"""
