"""Algorithms that make bytes fewer, and dictionaries trained on what a collection holds."""
