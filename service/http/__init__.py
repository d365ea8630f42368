"""HTTP around the routes: the server, its limits, the pages of every service, and metrics."""
