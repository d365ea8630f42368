"""The feed: the log over HTTP, whole, one stream of it, or the acts of operators."""
