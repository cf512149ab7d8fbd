"""A Python that finds this file on its path lacks what Linux has and some other system has not; so do its children."""

import os
import sys

for name in (
    "fork", "forkpty", "register_at_fork", "sched_getaffinity", "sched_setaffinity", "sched_yield",
    "mkfifo", "mknod", "symlink", "link", "getloadavg", "posix_fallocate", "posix_fadvise",
):  # fmt: skip
    if hasattr(os, name):
        delattr(os, name)
for name in ("fcntl", "resource", "termios", "pwd", "grp"):
    sys.modules[name] = None
