"""Turns raw text into clean train, validation and test splits."""
