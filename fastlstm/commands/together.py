"""Several processes of one command: the first speaks for all of them, and all end when one of them must."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout

from fastlstm.commands.cli import explained
from fastlstm.training.ranks import Ranks, world

PATIENCE = 2.0  # seconds in which all ranks fail alike, or the one that has failed ends the others


@contextmanager
def together() -> Iterator[Ranks]:
    """The ranks that mpiexec or srun has started, or this process alone. However the block ends, all of them end soon."""
    ranks = Ranks(world())
    if ranks.part.of == 1:
        yield ranks
        return
    own = sys.stderr
    try:
        with ExitStack() as silent:
            if not ranks.first:
                nowhere = silent.enter_context(open(os.devnull, "w"))
                silent.enter_context(redirect_stdout(nowhere))
                silent.enter_context(redirect_stderr(nowhere))
            yield ranks
    except SystemExit:
        raise
    except BaseException as error:
        if ranks.all_end(PATIENCE):
            # They have the same to say: the first one says it.
            if ranks.first:
                raise
            sys.exit(1)
        message, code = explained(error) or ("".join(traceback.format_exception(error)).rstrip(), 1)
        who = "" if ranks.first else f"rank {ranks.part.number} on {ranks.host}: "
        print(who + message, file=own, flush=True)
        ranks.abort(code)
