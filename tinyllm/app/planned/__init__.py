"""What becomes of a plan: a params.yaml, a table, a report, a run in MLflow."""
