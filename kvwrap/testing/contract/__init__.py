"""Contract suites: what every store and every layer must satisfy, as test classes to subclass."""
