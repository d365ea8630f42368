"""What both sides of the HTTP API agree on: conventions, resources, problems. Imports nothing of ours."""
