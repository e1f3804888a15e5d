"""What statistics are made of: counts, and latencies in a histogram."""
