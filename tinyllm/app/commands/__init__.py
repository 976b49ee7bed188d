"""The click commands, a file each."""
