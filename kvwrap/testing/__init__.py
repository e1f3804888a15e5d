"""For authors of stores and layers."""
