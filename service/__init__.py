"""Settings, servers, processes and the command line: the only place that knows all the other packages."""

import os

# prometheus_client, once imported, would keep our figures there, in files of the programs that share the directory.
# Dramatiq imports this package first too, when it is started without `orders work`.
for name in ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"):
    os.environ.pop(name, None)
