"""The write side: requests to commands, commands to decisions, decisions to events."""
