"""MLflow: runs, data sets, checkpoints, registry. The only place that talks to it."""
