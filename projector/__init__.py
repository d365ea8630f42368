"""The projector: folds the log into the read tables, rebuilds them, and proves them right."""
