"""Evaluates a trained model: metrics, a baseline, plots."""
