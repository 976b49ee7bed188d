"""The transformer, as in a textbook, and its checkpoint."""
