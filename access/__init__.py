"""Access: who may do what. API keys, tokens, limits, and the audit of what operators do.

What other packages use:

- `contract.callers`: `Caller`, `Viewer`, `caller_of(request)`; and `scope("orders:read")`, `PUBLIC` and `ANY_CALLER`
  for the `security` that every route declares (`get(..., security=...)`, `route(..., needs=...)`, or
  `openapi_extra={"security": ...}` on a StrictRoute). A route without one cannot be made.
- `access.guard.Guard` lets callers in. The application has it as `app.state.guard`; `access.guard.OpenGuard` is used
  with `NO_AUTH=1`; it treats every caller as an operator.
- `access.audit.append_act(database_url, actor, act, target, reason)` appends what an operator did to the log.

`command/` and `query/` never import this package: they know the caller, not how the guard found it out.
"""
