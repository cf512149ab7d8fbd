"""The command line: each command parses, calls one function and shows what came back.

Enter by `cli.main`. What is heavy is imported inside the commands, so that `--help` is quick.
"""
