"""Exports the model in formats that other programs open."""
