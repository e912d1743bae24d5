"""docs/conformance.md says what the code does."""
