"""Serving: runs and bundles answer over HTTP.

    request -> guard (host, key, size, deadline) -> route (v1, v2) -> admission (a turn in a thread) -> scorer -> answer

`serve` runs it. `create_app` is the application alone. Nothing is imported from the web unless it is used.
"""
