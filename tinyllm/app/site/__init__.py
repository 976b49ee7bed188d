"""A static site of runs, curves, reports and models, for whoever has no server."""
