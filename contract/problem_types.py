"""Every kind of error that the API can answer, by its code."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One type of problem: its meaning, and the remedy for the caller. Without a `title` its code is the title."""

    status: int
    meaning: str
    fix: str
    title: str = ""

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later as it is."""
        return self.status in {408, 429, 500, 503}


_TYPES: dict[str, ProblemType] = {
    "malformed-request": ProblemType(
        400,
        "The service cannot read the request as HTTP/1.1, or a GET has a body.",
        "Send HTTP/1.1, with the path and the headers encoded as RFC 9112 requires, and filters in the query string.",
    ),
    "malformed-json": ProblemType(
        400,
        "The body is not JSON: a syntax error, a duplicate key, NaN, bad UTF-8, or nesting too deep.",
        "Send one JSON document in UTF-8.",
        title="Malformed JSON",
    ),
    "unknown-parameter": ProblemType(
        400,
        "The query string has a parameter that this resource does not take.",
        "Remove it or correct its name; a filter is never silently dropped.",
        title="Unknown query parameter",
    ),
    "invalid-parameter": ProblemType(
        400, "A query parameter has a value that cannot be used.", "Correct the value.", title="Invalid query parameter"
    ),
    "invalid-cursor": ProblemType(
        400,
        "The cursor is not one that this list handed out for this sort.",
        "Start again from the first page, and pass cursors on unchanged.",
    ),
    "invalid-header": ProblemType(
        400, "A request header has a value that cannot be used.", "Correct the header that the detail names."
    ),
    "unauthenticated": ProblemType(
        401,
        "The request has no API key or token, or one that is not valid: unknown, revoked, expired or misspelt.",
        "Send `Authorization: Bearer <key>`. `orders keys create` makes a key.",
    ),
    "token-expired": ProblemType(401, "The token's time is over.", "Get a new token from the issuer."),
    "missing-scope": ProblemType(
        403,
        "The caller lacks the scope that the route needs; `required` names it, `held` lists those that he has.",
        "Use a key or token with that scope.",
    ),
    "impossible-key": ProblemType(
        422,
        "The name, role, scopes and user do not make an API key, for the reason given.",
        "Change what the detail names: docs/security.md has the rules.",
    ),
    "not-found": ProblemType(404, "There is no such resource.", "Check the id and the path."),
    "method-not-allowed": ProblemType(
        405, "The resource does not take this method.", "Use a method that the Allow header names."
    ),
    "request-timeout": ProblemType(
        408,
        "The request took too long to arrive; nothing was appended.",
        "Send it faster: headers and body within 10 seconds.",
    ),
    "email-taken": ProblemType(
        409,
        "Another user has this e-mail address (case does not count).",
        "Use another address, or the user that has it.",
        title="E-mail taken",
    ),
    "duplicate-external-id": ProblemType(
        409,
        "Another resource of this kind has this external_id.",
        "It may be your own earlier request: Location names the resource that has it.",
        title="Duplicate external_id",
    ),
    "already-registered": ProblemType(409, "The caller has a user already: Location names it.", "Use that user."),
    "sku-taken": ProblemType(
        409,
        "Another product has this SKU (case counts).",
        "Use another SKU, or the product that has it.",
        title="SKU taken",
    ),
    "insufficient-stock": ProblemType(
        409,
        "There is less in stock than asked for; nothing was taken.",
        "Ask for no more than `available`, or try again after a restock.",
    ),
    "stock-not-kept": ProblemType(
        409, "The product is not kept in stock, so its stock cannot change.", "Leave it out."
    ),
    "price-changed": ProblemType(
        409,
        "The product's price is not the expected_unit_price.",
        "Show the customer the new price, and order again with it.",
    ),
    "quantity-not-cancellable": ProblemType(
        409,
        "A line has less left to cancel than asked for; nothing was cancelled.",
        "Cancel no more than `cancellable` of each line.",
    ),
    "gone": ProblemType(410, "The user has been deleted.", "Stop using this id."),
    "version-mismatch": ProblemType(
        412, "The resource has changed since the version in If-Match.", "Read it again, and decide again."
    ),
    "body-too-large": ProblemType(413, "The body has more than 1 MiB.", "Send less."),
    "uri-too-long": ProblemType(
        414, "The URI has more than 8 KiB.", "Send fewer or shorter parameters.", title="URI too long"
    ),
    "unsupported-media-type": ProblemType(
        415,
        "The body is not application/json, or it is compressed.",
        "Send JSON with Content-Type: application/json and without a Content-Encoding.",
    ),
    "validation-error": ProblemType(
        422, "The body breaks rules; `errors` lists the first 100.", "Correct the fields named."
    ),
    "idempotency-key-reused": ProblemType(
        422,
        "This Idempotency-Key was used for another request.",
        "Use a new key for a new request, and the same key only to repeat the same request.",
        title="Idempotency-Key reused",
    ),
    "unknown-user": ProblemType(422, "The user does not exist or has been deleted.", "Order for a user that exists."),
    "unknown-product": ProblemType(
        422, "A product of the order does not exist.", "Correct the product_id or sku that `errors` names."
    ),
    "product-discontinued": ProblemType(422, "A product of the order is no longer sold.", "Leave it out."),
    "mixed-currency": ProblemType(
        422, "The products of the order have different currencies.", "Place an order for each currency."
    ),
    "unknown-line": ProblemType(422, "The order has no such line.", "Name lines that the order has."),
    "cross-origin": ProblemType(
        403,
        "A page of another origin had a browser send a command to a service that asks for no keys.",
        "Run the service with keys, or have its operator name the origin in CORS_ORIGINS.",
        title="Cross-origin command",
    ),
    "unknown-host": ProblemType(
        421,
        "The Host header names a host that this service does not serve.",
        "Use the service's own name; an operator adds names to ALLOWED_HOSTS.",
    ),
    "rate-limited": ProblemType(
        429,
        "The account, or the address without authentication, has sent too many requests, or too many of them wait.",
        "Repeat it after Retry-After.",
    ),
    "headers-too-large": ProblemType(
        431, "The request has more than 100 headers, or more than 32 KiB of them.", "Send fewer or shorter headers."
    ),
    "internal-error": ProblemType(500, "The service failed; nothing was appended.", "Report it with the X-Request-Id."),
    "overloaded": ProblemType(
        503,
        "Too many requests or connections are open, or too many commands or reads wait; this one was not tried.",
        "Repeat it after Retry-After.",
    ),
    "unavailable": ProblemType(
        503,
        "The database cannot be reached, or refuses the read or write; nothing was appended.",
        "Repeat the request after Retry-After.",
    ),
    "unreadable-stream": ProblemType(
        503,
        "An event in the history of a resource cannot be read by this release; nothing was appended.",
        "It takes no commands until an operator deploys a release that reads it; other resources are not affected.",
    ),
    "auth-unavailable": ProblemType(
        503,
        "The service could not fetch what it checks API keys or tokens against; nothing was tried.",
        "Repeat it after Retry-After.",
        title="Authentication unavailable",
    ),
    "outcome-unknown": ProblemType(
        503,
        "The connection broke at COMMIT: the command may or may not have been accepted.",
        "Repeat it with the same Idempotency-Key; without a key, look before you repeat.",
    ),
    "projection-behind": ProblemType(
        503,
        "The read tables have not reached the Sync-Token that was sent.",
        "Repeat the read after Retry-After, or without the Sync-Token.",
    ),
}
PROBLEMS = {code: replace(it, title=it.title or code.replace("-", " ").capitalize()) for code, it in _TYPES.items()}
