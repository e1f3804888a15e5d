"""Other faces of a store: blocking, and as a mapping."""
