"""How figures of benchmarks are summed up, reported and judged."""
