"""An example of each problem, for the OpenAPI document: as the service answers it, or with its meaning as the detail.

tests/contract/test_examples.py causes those that are written out here, except missing-scope.
"""

from typing import Any

from contract.examples import ADA_ID, ORDER_ID, TEA_ID
from contract.problem_types import PROBLEMS
from contract.problems import Problem


def _line_error(code: str, detail: str) -> list[dict[str, str]]:
    return [{"pointer": "/items/0", "code": code, "detail": detail}]


_SHORT: list[dict[str, Any]] = [{"line": 1, "product_id": TEA_ID, "sku": "tea-assam", "requested": 12, "available": 8}]
_MISSING: list[dict[str, str]] = [{"pointer": "/items/0/quantity", "code": "missing", "detail": "Field required"}]
_NO_USER: list[dict[str, str]] = [{"pointer": "/user_id", "code": "unknown-user", "detail": "no such user, or deleted"}]

EXAMPLES = {code: Problem(code, it.meaning) for code, it in PROBLEMS.items()} | {
    it.code: it
    for it in (
        Problem("malformed-json", "The body is not JSON at line 1 column 16: Expecting ',' delimiter."),
        Problem("unknown-parameter", "/orders takes no query parameter 'colour'.", parameter="colour"),
        Problem("invalid-parameter", "limit: must be a whole number, 0 or more.", parameter="limit"),
        Problem("invalid-cursor", "The cursor is not one that this service handed out."),
        Problem("invalid-header", 'If-Match is not a quoted version such as "3".'),
        Problem(
            "missing-scope",
            "This needs the scope orders:write, which the caller does not have.",
            required="orders:write",
            held=["orders:read", "products:read"],
        ),
        Problem("not-found", f"There is no /orders/{ORDER_ID}."),
        Problem("method-not-allowed", "/users does not take DELETE."),
        Problem("email-taken", "Another user has the e-mail address ada@example.org."),
        Problem("duplicate-external-id", f"The external_id web-1001 belongs to /orders/{ORDER_ID}."),
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
        Problem("projection-behind", "The read tables have not reached position 42000 yet."),
    )
}
