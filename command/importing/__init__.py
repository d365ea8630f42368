"""Whole shops from files of JSON lines, through the same decisions as HTTP. The rows: docs/importing.md."""
