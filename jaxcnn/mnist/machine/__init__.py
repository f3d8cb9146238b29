"""What a run needs of its machine: devices and processes, the clock, the cache, signals."""
