"""Conventions, resources and problems that both sides of the HTTP API share. Imports nothing of ours."""
