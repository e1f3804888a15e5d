"""What layers over several stores are made of."""
