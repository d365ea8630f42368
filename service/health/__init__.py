"""Whether the service can do its work, and what prevents it."""
