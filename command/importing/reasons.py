"""Why a row was not taken: a code and a sentence for the rejects file."""

from pydantic import ValidationError

from command.domain.refusals import OutOfStock, Refused
from command.importing.line import Reason
from command.importing.placing import Differs
from command.importing.returning import LINES_READ_MAX, NothingToReturn, NotTheRest, ReturnTooLarge
from command.problems import problem_of
from contract.problems import Problem, in_words, pointer
from eventlog.codec import UnreadableEvent

# A row of 1,000 lines can break 3,000 rules; the first few tell what is wrong with it.
NAMED_MAX = 5
DIFFERS = "differs"


def of_malformed(problem: Problem) -> Reason:
    # It speaks of a body of several lines; a row is one.
    detail = str(problem.detail).replace("The body", "The row").replace(" line 1 column", " column")
    return Reason(problem.code, detail)


def of_invalid(invalid: ValidationError) -> Reason:
    """Which fields of a row break which rules, each by its JSON pointer."""
    errors = invalid.errors(include_url=False, include_context=False, include_input=False)
    named = [f"{pointer(it['loc'])}: {in_words(it)}" if it["loc"] else in_words(it) for it in errors]
    return Reason("validation-error", _some(named))


def of_refusal(refusal: Refused | UnreadableEvent) -> Reason:
    match refusal:
        case Differs(number, _, members):
            detail = f"The number {number} is there, and differs in {', '.join(members)}: what is there stays as it is."
            return Reason(DIFFERS, f"{detail} A row that is more of it, or another, needs a number of its own.")
        case NothingToReturn(line, sku, order, asked, left):
            sold = f"has {left} left to return" if left else "has none left to return"
            return Reason("quantity-not-cancellable", f"Line {line} returns {asked} of {sku}; order {order} {sold}.")
        case NotTheRest(sku, order, named, left):
            detail = f"It names {named} of {sku}, but {left} are left of order {order}, which it cancels as a whole."
            return Reason("quantity-not-cancellable", f"{detail} For a part of an order, send return_items.")
        case ReturnTooLarge():
            detail = f"The orders that it names have more than {LINES_READ_MAX:,} lines in all: split it."
            return Reason("return-too-large", detail)
        case OutOfStock(shortages):
            short = {it.sku: f"{it.sku} ({it.requested} wanted, {it.available} there)" for it in shortages}
            return Reason("insufficient-stock", f"There is not enough in stock of {_some(list(short.values()))}.")
        case UnreadableEvent():
            return Reason("internal-error", f"What this row depends on cannot be read: {refusal}")
    problem = problem_of(refusal)
    return Reason(problem.code, str(problem.detail))


def _some(named: list[str]) -> str:
    more = len(named) - NAMED_MAX
    return "; ".join(named[:NAMED_MAX]) + (f"; and {more} more" if more > 0 else "")
