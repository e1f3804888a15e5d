"""`kvwrap completion`: a shell's completion of commands and options."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from kvwrap.cli.codes import DONE
from kvwrap.cli.main import PROGRAM, create_app
from kvwrap.cli.output import write_text


def completion(
    shell: Annotated[
        Literal["bash", "zsh", "fish", "powershell"], Parameter(name="SHELL", help="The shell.")
    ],
    /,
) -> int:
    """Print a script by which a shell completes commands and options.

    For bash, put this into ~/.bashrc: eval "$(kvwrap completion bash)"
    """
    write_text(create_app().generate_completion(prog_name=PROGRAM, shell=shell))
    return DONE
