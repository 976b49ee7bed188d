"""The transformer and the arithmetic it is made of."""
