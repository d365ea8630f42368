"""The handlers: one package or file for each projection, with the object that registers it."""
