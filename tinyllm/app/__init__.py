"""What users see of the core: the command group, MLflow, sweeps, verification, reports.

Nothing outside this package imports it; stages find `tinyllm.app.watch` by name.
"""
