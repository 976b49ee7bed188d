"""The arithmetic: what makes it fast, and the same on every CPU."""
