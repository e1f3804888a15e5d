"""What a layer with a nearer store is made of: one idea per file."""
