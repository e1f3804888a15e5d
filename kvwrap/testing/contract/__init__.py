"""What every store and every layer must keep to, as test classes to subclass."""
