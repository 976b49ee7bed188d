"""MLflow: runs, datasets, checkpoints, registry. Only this package talks to it."""
