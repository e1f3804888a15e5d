"""`python -m scripts.servers` installs the servers that the tests need, if they are missing."""
