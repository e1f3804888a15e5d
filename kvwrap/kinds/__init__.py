"""The kinds of layer: what layers of one kind have in common, each kind in a file."""
