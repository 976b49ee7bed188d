"""What every package builds on: errors, files, parameters, commands, events."""
