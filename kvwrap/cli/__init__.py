"""The command line, one command or family of commands a file."""
