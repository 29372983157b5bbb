"""The command line: one thin file per command, which parses, calls one library function and prints."""

import time

BEGUN = time.monotonic()
"""When the command began: before it imports anything that takes time."""
