"""The science: pure functions on arrays, and one thin edge that reads and writes the store."""
