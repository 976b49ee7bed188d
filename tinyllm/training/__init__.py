"""Data, optimizer, schedule, loop and working checkpoints."""
