"""Mirrors: the same projections in another database, kept by the same loop with another writer."""
