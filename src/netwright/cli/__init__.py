"""The command: reading of the command line, one module per family of commands, endings and exit codes."""
