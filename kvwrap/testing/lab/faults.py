"""Faults that `Lab.run` chooses from: each happens to a process, and ends after some seconds."""

from __future__ import annotations

import asyncio

from kvwrap.testing.lab.process import Path, Process
from kvwrap.testing.lab.simulation import Lab


async def pause(lab: Lab, process: Process, seconds: float) -> None:
    """Stop the process, and let it go on with what it knew before."""
    process.pause()
    await asyncio.sleep(seconds)
    process.resume()


async def crash(lab: Lab, process: Process, seconds: float) -> None:
    """Kill the process, and start it again at once."""
    if not process.is_killed:
        lab.restart(process)


async def cut_link(lab: Lab, process: Process, seconds: float) -> None:
    """Cut the connection that tells changes; the process notices."""
    process.cut_link()
    await asyncio.sleep(seconds)
    process.link = Path.UP


async def silence_link(lab: Lab, process: Process, seconds: float) -> None:
    """Leave the connection that tells changes half-open: nothing arrives, nobody notices."""
    process.link = Path.SILENT
    await asyncio.sleep(seconds)
    process.link = Path.UP


async def isolate(lab: Lab, process: Process, seconds: float) -> None:
    """Leave all connections of the process half-open."""
    process.link = process.calls = Path.SILENT
    await asyncio.sleep(seconds)
    process.link = process.calls = Path.UP


async def set_clock(lab: Lab, process: Process, seconds: float) -> None:
    """Set the wall clock of the process forward or back, by up to an hour."""
    process.clock.jump(lab.rng.uniform(-3600, 3600))
