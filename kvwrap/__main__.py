"""The program `kvwrap`, and `python -m kvwrap`."""

from __future__ import annotations


def main() -> int:
    """Run the command line. Returns the exit code, 130 after Ctrl-C while it is loaded."""
    try:
        from kvwrap.cli.main import main as run

        return run()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
