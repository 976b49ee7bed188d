"""DVC's side of the pipeline: one short script a stage, run as `python -m stages.NAME`."""
