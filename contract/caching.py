"""What Cache-Control says. A cache must never serve a resource as it was before the caller's own write."""

# Answers that depend on the moment: lists, commands, problems, health. No cache keeps them.
NO_STORE = {"Cache-Control": "no-store"}

# Answers with an ETag. The caller's own cache may keep them, and asks again (If-None-Match) before each use. It
# repeats the caller's Sync-Token then, so no Vary is needed: the service decides about each use.
REVALIDATED = {"Cache-Control": "private, no-cache"}

# A resource at a version: it never changes, so the caller's own cache may keep it and need not ask again.
IMMUTABLE_PRIVATE = {"Cache-Control": "private, max-age=31536000, immutable"}

# Files whose path holds a digest of their content.
IMMUTABLE = {"Cache-Control": "public, max-age=31536000, immutable"}
