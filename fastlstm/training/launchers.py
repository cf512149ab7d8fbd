"""Whether a launcher has started this process as one of several; asked before anything heavy is imported."""

from __future__ import annotations

import os

# What the launchers of MPICH and its relatives, of Open MPI and of Slurm tell each process: its number, and how many.
LAUNCHERS = (
    ("PMI_RANK", "PMI_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
)


def launched() -> tuple[int, int]:
    """This process's number and how many there are: (0, 1) where no launcher such as mpiexec or srun has started several."""
    for number, count in LAUNCHERS:
        place = os.environ.get(number, ""), os.environ.get(count, "")
        if all(map(str.isdecimal, place)) and int(place[1]) > 1:
            return int(place[0]), int(place[1])
    return 0, 1
