"""The command line: one thin file per command, each parsing, calling one library function, and printing."""
