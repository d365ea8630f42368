"""The read tables: one file for each projection. Any of them can be dropped and rebuilt from the log."""
