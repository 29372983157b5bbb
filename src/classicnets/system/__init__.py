"""The lowest layer, which knows no image and no network: files, locks, paths, cache, threads, memory, devices."""
