"""An operator's act on the service itself. Stream `operator-<id>`, one for each act; no projection makes rows of it."""

from eventlog.events.record import Happened


class OperatorActed(Happened, frozen=True):
    """`act` says what was done, such as `key.created`, to `target`; `reason` is the operator's own word."""

    act: str
    target: str
    reason: str | None

    def in_words(self) -> str:
        reason = f": {self.reason}" if self.reason is not None else ""
        return f"{self.act}, {self.target}{reason}"
