"""The feed: the log over HTTP, whole or one stream of it."""
