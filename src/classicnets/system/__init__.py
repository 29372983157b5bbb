"""What knows no image and no network: files, locks, cache, threads, memory, devices."""
