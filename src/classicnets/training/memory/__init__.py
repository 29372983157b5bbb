"""The same numbers in less memory."""
