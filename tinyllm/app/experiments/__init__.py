"""Many runs: DVC experiments that are drawn, followed, stopped and compared."""
