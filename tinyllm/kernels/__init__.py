"""Arithmetic that is fast, and the same on every CPU."""
