"""The parts of the stores that need no store."""
