"""A generated abdomen, for the demonstration and for tests."""
