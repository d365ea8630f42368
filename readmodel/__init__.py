"""The read tables: disposable, and at all times the fold of a prefix of the log. Imports nothing of ours."""
