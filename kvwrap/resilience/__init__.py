"""What layers that deal with failing backends are made of."""
