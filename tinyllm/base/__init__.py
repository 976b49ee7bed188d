"""What every room stands on: errors, files, parameters, commands, events."""
