"""The one place where a refusal becomes an HTTP problem."""

from dataclasses import asdict

from command.domain import money, refusals
from command.domain.user import stream as user_stream
from contract.names import path_of, split
from contract.problems import Problem


def problem_of(refusal: refusals.Refused) -> Problem:  # noqa: C901, PLR0912 - a case for each refusal, and no logic
    match refusal:
        case refusals.Missing(stream):
            return Problem("not-found", f"There is no {split(stream)[0]} with the id {split(stream)[1]}.")
        case refusals.Deleted(stream):
            return Problem("gone", f"The user {split(stream)[1]} has been deleted.")
        case refusals.VersionMismatch(expected, actual):
            detail = f"The resource has version {actual}, not {expected}."
            return Problem("version-mismatch", detail, headers={"ETag": f'"{actual}"'})
        case refusals.EmailTaken(email):
            return Problem("email-taken", f"Another user has the e-mail address {email}.")
        case refusals.SkuTaken(sku, owner):
            return Problem("sku-taken", f"Another product has the SKU {sku}.", headers={"Location": path_of(owner)})
        case refusals.AlreadyRegistered(user_id):
            path = path_of(user_stream(user_id))
            return Problem("already-registered", f"The caller is the user {user_id}.", headers={"Location": path})
        case refusals.ExternalIdTaken(external_id, None):
            return Problem("duplicate-external-id", f"The external_id {external_id} is taken.")
        case refusals.ExternalIdTaken(external_id, str(owner)):
            detail = f"The external_id {external_id} belongs to {path_of(owner)}."
            return Problem("duplicate-external-id", detail, headers={"Location": path_of(owner)})
        case refusals.UnknownUser(user_id):
            error = {"pointer": "/user_id", "code": "unknown-user", "detail": "no such user, or deleted"}
            return Problem("unknown-user", f"The user {user_id} does not exist or has been deleted.", errors=[error])
        case refusals.UnknownProduct(lines):
            detail = f"The order names products that do not exist, on {_lines(lines)}."
            return _of_products("unknown-product", detail, lines, "no such product")
        case refusals.Discontinued(lines):
            detail = f"The order names products that are no longer sold, on {_lines(lines)}."
            return _of_products("product-discontinued", detail, lines, "no longer sold")
        case refusals.MixedCurrency(currencies):
            return Problem("mixed-currency", f"The products have the currencies {', '.join(currencies)}.")
        case refusals.PriceChanged(changes):
            return Problem(
                "price-changed",
                f"The price differs from expected_unit_price on {_lines([it.line for it in changes])}.",
                lines=[
                    {"line": it.line, "expected_unit_price": money.text(it.expected), "unit_price": it.actual}
                    for it in changes
                ],
            )
        case refusals.OutOfStock(shortages):
            detail = f"There is not enough in stock for {_lines([it.line for it in shortages])}."
            return Problem("insufficient-stock", detail, lines=[asdict(it) for it in shortages])
        case refusals.UnknownLine(lines):
            unknown = [{"line": line} for line in lines]
            return Problem("unknown-line", f"The order has no {_lines(lines)}.", lines=unknown)
        case refusals.NotCancellable(lines_asked):
            detail = f"Fewer pieces are left to cancel than requested on {_lines([it.line for it in lines_asked])}."
            return Problem("quantity-not-cancellable", detail, lines=[asdict(it) for it in lines_asked])
        case refusals.StockNotKept(sku):
            return Problem("stock-not-kept", f"The product {sku} is not kept in stock.")
        case refusals.StockOutOfRange(stock):
            error = {"pointer": "/delta", "code": "too-large", "detail": f"the stock would be {stock}"}
            return Problem("validation-error", "The stock would be above 10^12.", errors=[error])
    raise AssertionError(f"no problem for {refusal!r}")


def _lines(lines: list[int] | tuple[int, ...]) -> str:
    shown = ", ".join(map(str, lines[:10])) + (", ..." if len(lines) > 10 else "")
    return f"line{'s' if len(lines) > 1 else ''} {shown}"


def _of_products(code: str, detail: str, lines: tuple[int, ...], of_line: str) -> Problem:
    errors = [{"pointer": f"/items/{line - 1}", "code": code, "detail": of_line} for line in lines]
    return Problem(code, detail, errors=errors)
