"""What two or more layers use, and no layer owns."""
