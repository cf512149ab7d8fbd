"""From batches to a run: options, the loop, its checkpoints and the folder that it leaves behind.

Uses `data` and `network`. Enter by `session.train`, which yields a record of every step and never prints or writes;
`runs.Run` writes, and `building` makes from options what they describe.
"""
