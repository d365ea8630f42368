"""The page of docs/errors.md that follows from the code. Run as a script it writes the page anew."""

from pathlib import Path

from contract.problem_types import PROBLEMS

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"

HEAD = """\
# Errors

Every problem that the API answers. This page follows from `contract/problem_types.py`; do not edit it:
`.venv/bin/python -m tests.docs.reference` writes it anew, and `tests/docs/test_docs.py` compares.

All errors are RFC 9457 problem documents (`application/problem+json`):

| Member | Meaning |
|---|---|
| `type` | `/problems/<code>`; a GET of it answers the meaning and the fix |
| `title`, `status` | as in the tables below |
| `detail` | what was wrong with this request, in a sentence |
| `code` | one of the codes below; programs look at this |
| `retryable` | whether the same request may succeed later as it is |
| `instance` | `urn:request:` and the `X-Request-Id` of the answer, which the log of the service has too |
| `errors` | only for errors in the body: `pointer` (RFC 6901), `code`, `detail` of each; at most 100 of them |
| others | facts: `parameter`, or `lines` with what was asked for and what there is |

A 4xx and a 500 mean that nothing was appended. A 503 carries `Retry-After`. Only `outcome-unknown` leaves open whether
the command was accepted: repeat it with the same Idempotency-Key.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for status in sorted({kind.status for kind in PROBLEMS.values()}):
        parts.append(f"\n## {status}\n\n| Code | Meaning | What to do | Retryable |\n|---|---|---|---|\n")
        for code, kind in PROBLEMS.items():
            if kind.status == status:
                parts.append(f"| `{code}` | {kind.meaning} | {kind.fix} | {'yes' if kind.retryable else 'no'} |\n")
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
