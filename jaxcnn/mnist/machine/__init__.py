"""What a run needs of its machine: devices and processes, the cache, signals."""
