"""The click commands, one in each file."""
