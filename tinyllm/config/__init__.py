"""One validated, frozen class for each section of params.yaml, a file each."""
