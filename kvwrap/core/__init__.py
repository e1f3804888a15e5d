"""What every store and every layer rests on; knows no store and no layer by name."""
