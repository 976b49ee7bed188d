"""Many runs at once: DVC experiments that are drawn, followed, stopped and compared."""
