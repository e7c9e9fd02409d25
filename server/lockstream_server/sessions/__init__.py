"""Sessions: what one client's stream holds, awaits and is told."""
