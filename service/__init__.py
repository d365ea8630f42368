"""Settings, servers, processes and the command line: the only place that knows all the other packages."""
