"""What people see and do with the core: the command group, MLflow, sweeps, verification, reports.

Nothing outside of this package imports it; stages find `tinyllm.app.watch` by its name.
"""
