"""The OpenAPI document against the service: what it lets a client send is answered as it says, never with a 5xx."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import booleans
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests import loopback
from tests.access.keyed import bearing, new_key
from tests.chance import chosen_seed
from tests.system.stack import Stack

# Every check that schemathesis has: "on", or what stands in its place. A check that a later version adds fails a test.
CHECKS = {
    "status_code_conformance": "on",
    "content_type_conformance": "on",
    "response_headers_conformance": "on",
    "response_schema_conformance": "on",
    "negative_data_rejection": "on, but a request with two faults may be refused for its If-Match",
    "ignored_auth": "on",
    "not_a_server_error": "`answers` below: a Sync-Token of the future is a 503, and rightly",
    "positive_data_acceptance": "`breaks_the_document` below: JSON Schema cannot say all rules",
    "missing_required_header": "off: no operation requires a header; ignored_auth leaves the key out",
    "unsupported_method": "tests/contract/test_requests.py: 405 for each other method of each path",
    "allow_header_conformance": "tests/contract/test_requests.py: Allow names the methods of the document",
    "use_after_free": "tests/command: a deleted user is 410, and nothing else is deleted",
    "ensure_resource_availability": "tests/command: what a 201 has made is there",
    "object_level_authorization": "tests/access/test_ownership.py and test_matrix.py, with each operation",
}
EXAMPLES, EXAMPLES_LONG = 4, 200  # of each operation, that keep to the document and that do not
CASES_MIN, CASES_LONG_MIN = 150, 5_000
# A Sync-Token of the future is a 503, and rightly; and 422 is for the rules of the shop as well.
JUDGED_HERE = [not_a_server_error, positive_data_acceptance]
# Keys are demanded, at any rate of requests and of wrong keys. Without a proxy, /metrics needs none on this machine.
GUARDED = {
    "NO_AUTH": "0",
    "BEHIND_PROXY": "1",
    "WRITES_PER_MINUTE": "0",
    "READS_PER_MINUTE": "0",
    "FAILURES_PER_MINUTE": "0",
}
# The document says these rules of values in words: see breaks_the_document.
IN_WORDS = {"int-type", "money", "product", "hidden-character", "blank", "lost-value"}
# A request that keeps to the document gets none of these codes. It can break a rule of the shop, such as unknown-user.
NOT_AS_DOCUMENTED = {"malformed-json", "unknown-parameter", "invalid-parameter", "invalid-header"}


@dataclass
class Api:
    """A running service, its document, the id of something of each kind, and the header with an operator's key."""

    stack: Stack
    schema: schemathesis.BaseSchema
    ids: dict[str, str]
    key: dict[str, str]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with Stack(tmp_path_factory.mktemp("schema"), environment=GUARDED) as stack:
        (url,) = stack.urls
        key = bearing(new_key(stack.database_url, "operator"))
        with loopback.Client(base_url=url, timeout=10, headers=key) as client:
            user = client.post("/users", json={"name": "Ada", "email": "ada@example.org"}).json()
            tea = {"sku": "tea", "name": "Tea", "price": "2.5", "currency": "EUR", "stock": 10**6}
            product = client.post("/products", json=tea).json()
            items = [{"sku": "tea", "quantity": 1000}]
            order = client.post("/orders", json={"user_id": user["id"], "items": items}).json()
        stack.wait_until_caught_up()
        ids = {"users": user["id"], "products": product["id"], "orders": order["id"]}
        schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
        # Each case has the operator's key; the check ignored_auth then tries it without the key and with a wrong one.
        schema.config.generation.with_security_parameters = False
        # A request with two faults is refused for one of them, and If-Match may be the first.
        refusals = schema.config.checks.negative_data_rejection
        refusals.expected_statuses = [*refusals.expected_statuses, "412"]
        yield Api(stack, schema, ids, key)


def breaks_the_document(answer: schemathesis.Response) -> bool:
    """Whether a request that keeps to the document is told that it does not.

    JSON Schema has no word for how a number is spelt: 1.0 is an integer to it, and 1e-05 has four decimals or none; nor
    for the stock that a change comes to, for a time that lies in the future, and for the fields that a resource has.
    Descriptions say that a line has product_id or sku and not both, that texts show something, that keys and addresses
    have no hidden characters, and that keys are no word for a missing value.
    """
    if answer.status_code < 400:
        return False
    document = answer.json()
    if document["code"] == "validation-error":
        errors = [error for error in document["errors"] if not error["detail"].startswith("the stock would be")]
        return any(error["code"] not in IN_WORDS for error in errors)
    is_spelling = "whole number" in document["detail"] or document["detail"].startswith("Sync-Token")
    is_moment = document["detail"].startswith(("as_of: lies in the future", "as_of: send version or as_of"))
    is_field = document["detail"].startswith("field: ")
    return document["code"] in NOT_AS_DOCUMENTED and not (is_spelling or is_moment or is_field)


def test_every_check_of_schemathesis_has_its_place(api: Api) -> None:
    assert set(schemathesis.checks.CHECKS.get_all_names()) == CHECKS.keys()


def test_every_answer_is_as_the_document_says(api: Api, is_long: bool) -> None:
    cases = 0
    for found in api.schema.get_all_operations():
        for mode in GenerationMode:
            # What carries nothing has nothing that could be wrong with it.
            with contextlib.suppress(Unsatisfiable):
                cases += try_out(api, found.ok(), mode, is_long)
    print(f"{cases} cases")
    assert cases >= (CASES_LONG_MIN if is_long else CASES_MIN)
    assert api.stack.run("verify").returncode == 0


def try_out(api: Api, operation: schemathesis.APIOperation, mode: GenerationMode, is_long: bool) -> int:
    """Send what the document lets one send, or what it does not, and judge the answers; returns how many."""
    cases = 0
    known = api.ids.get(operation.path.split("/")[1])

    @given(case=operation.as_strategy(generation_mode=mode), is_known=booleans())
    @settings(
        max_examples=EXAMPLES_LONG if is_long else EXAMPLES,
        deadline=None,
        database=None,
        derandomize=not is_long,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    def answers(case: schemathesis.Case, is_known: bool) -> None:
        nonlocal cases
        cases += 1
        if is_known and known and "id" in case.path_parameters:
            case.path_parameters["id"] = known
        if "Prefer" in case.headers:
            case.headers["Prefer"] = "wait=0"  # nobody has half a minute for each
        answer = case.call_and_validate(timeout=20, headers=api.key, excluded_checks=JUDGED_HERE)
        assert answer.status_code < 500 or answer.json()["code"] == "projection-behind", case.as_curl_command()
        if mode is GenerationMode.POSITIVE:
            assert not breaks_the_document(answer), f"{case.as_curl_command()}: {answer.text}"

    if is_long:
        seed(chosen_seed())(answers)
    answers()
    return cases
