"""MLflow's server for a model, shared by many clients."""
