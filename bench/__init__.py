"""Measurements: the service beside what one would write instead, on the same machine in the same minutes."""
