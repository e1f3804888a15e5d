"""A fault lab: simulated processes around one far store, in simulated time, from a seed."""

from kvwrap.testing.lab import faults
from kvwrap.testing.lab.explore import explore, simulate
from kvwrap.testing.lab.far import FarStore
from kvwrap.testing.lab.history import History, Operation, older_reads, overlaps, repetitions
from kvwrap.testing.lab.loop import Stuck, VirtualLoop
from kvwrap.testing.lab.network import Network
from kvwrap.testing.lab.process import LabClock, Path, Process
from kvwrap.testing.lab.simulation import Lab

__all__ = [
    "FarStore",
    "History",
    "Lab",
    "LabClock",
    "Network",
    "Operation",
    "Path",
    "Process",
    "Stuck",
    "VirtualLoop",
    "explore",
    "faults",
    "older_reads",
    "overlaps",
    "repetitions",
    "simulate",
]
