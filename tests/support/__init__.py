"""Real processes and servers for tests and benchmarks."""
