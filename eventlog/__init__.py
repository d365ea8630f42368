"""The truth: one table of events, in commit order, without holes, never rewritten. Imports nothing of ours."""
