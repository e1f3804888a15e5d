"""Views of a store: blocking, and as a mapping."""
