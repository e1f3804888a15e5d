"""What `Coalesce` is made of: one idea per file."""
