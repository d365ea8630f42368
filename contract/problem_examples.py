"""An example of each problem, as the service answers it. They stand in the OpenAPI document, under their codes."""

from typing import Any

from contract.examples import ADA_ID, ORDER_ID, TEA_ID
from contract.problems import Problem


def _line_error(code: str, detail: str) -> list[dict[str, str]]:
    return [{"pointer": "/items/0", "code": code, "detail": detail}]


_SHORT: list[dict[str, Any]] = [{"line": 1, "product_id": TEA_ID, "sku": "tea-assam", "requested": 12, "available": 8}]
_MISSING: list[dict[str, str]] = [
    {
        "pointer": "/items/0/quantity",
        "code": "missing",
        "detail": "Field required",
    }
]
_NO_USER: list[dict[str, str]] = [{"pointer": "/user_id", "code": "unknown-user", "detail": "no such user, or deleted"}]

EXAMPLES: dict[str, Problem] = {
    it.code: it
    for it in (
        Problem("malformed-request", "This is no HTTP request."),
        Problem("malformed-json", "The body is not JSON at line 1 column 16: Expecting ',' delimiter."),
        Problem("unknown-parameter", "/orders takes no query parameter 'colour'.", parameter="colour"),
        Problem("invalid-parameter", "limit: must be a whole number, 0 or more.", parameter="limit"),
        Problem("invalid-cursor", "The cursor is not one that this service handed out."),
        Problem("invalid-header", 'If-Match is not a quoted version such as "3".'),
        Problem("unauthenticated", "The request has no Authorization header."),
        Problem("token-expired", "The token has expired."),
        Problem(
            "missing-scope",
            "This needs the scope orders:write, which the caller does not have.",
            required="orders:write",
            held=["orders:read", "products:read"],
        ),
        Problem("impossible-key", "There can be no such key: a customer's key names its user."),
        Problem("not-found", f"There is no /orders/{ORDER_ID}."),
        Problem("method-not-allowed", "/users does not take DELETE."),
        Problem("request-timeout", "It took more than 10 seconds to arrive."),
        Problem("email-taken", "Another user has the e-mail address ada@example.org."),
        Problem("duplicate-external-id", f"The external_id web-1001 belongs to /orders/{ORDER_ID}."),
        Problem("already-registered", f"The caller is the user {ADA_ID}."),
        Problem("sku-taken", "Another product has the SKU tea-assam."),
        Problem("insufficient-stock", "There is not enough in stock for line 1.", lines=_SHORT),
        Problem("stock-not-kept", "The product postage is not kept in stock."),
        Problem(
            "price-changed",
            "The price differs from expected_unit_price on line 1.",
            lines=[{"line": 1, "expected_unit_price": "6.90", "unit_price": "7.20"}],
        ),
        Problem(
            "quantity-not-cancellable",
            "Fewer pieces are left to cancel than requested on line 1.",
            lines=[{"line": 1, "requested": 5, "cancellable": 2}],
        ),
        Problem("gone", f"/users/{ADA_ID} was deleted."),
        Problem("version-mismatch", "The resource has version 4, not 2."),
        Problem("body-too-large", "The body has more than 1048576 bytes."),
        Problem("uri-too-long", "The URI has more than 8192 bytes."),
        Problem("unsupported-media-type", "The Content-Type is text/plain, not application/json."),
        Problem("validation-error", "The body breaks rules: see errors.", errors=_MISSING),
        Problem("idempotency-key-reused", "This Idempotency-Key was used for another request; this one was not tried."),
        Problem("unknown-user", f"The user {ADA_ID} does not exist or has been deleted.", errors=_NO_USER),
        Problem(
            "unknown-product",
            "The order names products that do not exist, on line 1.",
            errors=_line_error("unknown-product", "no such product"),
        ),
        Problem(
            "product-discontinued",
            "The order names products that are no longer sold, on line 1.",
            errors=_line_error("product-discontinued", "no longer sold"),
        ),
        Problem("mixed-currency", "The products have the currencies EUR, GBP."),
        Problem("unknown-line", "The order has no line 7.", lines=[{"line": 7}]),
        Problem("cross-origin", "A page of another origin sent this command, and CORS_ORIGINS lacks it."),
        Problem("unknown-host", "The Host header names a host that is not served here."),
        Problem("rate-limited", "The account sends writes faster than 600 a minute allow."),
        Problem("headers-too-large", "The headers are more than 100, or than 32768 bytes."),
        Problem("internal-error", "The service failed on this request."),
        Problem("overloaded", "Too many requests are under way; this one was not tried."),
        Problem("unavailable", "The database cannot be read at the moment."),
        Problem(
            "unreadable-stream",
            f"The history of /orders/{ORDER_ID} cannot be read: OrderPlaced version 2 is not known to this release.",
        ),
        Problem("auth-unavailable", "The API keys could not be read from the database yet."),
        Problem(
            "outcome-unknown",
            "The command may or may not have been accepted: the connection was lost during the COMMIT.",
        ),
        Problem("projection-behind", "The read tables have not reached position 42000 yet."),
    )
}
