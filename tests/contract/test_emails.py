import pytest

from contract.emails import email_key


@pytest.mark.parametrize(
    "others",
    [
        ("Ada@Example.org", "ADA@EXAMPLE.ORG"),
        ("ΟΔΟΣ@x.gr", "οδος@x.gr", "οδοσ@x.gr"),
        ("straße@x.de", "STRASSE@x.de"),
        ("zoe\u0308@x.org", "ZOË@x.org"),  # a diaeresis of its own, and one that belongs to the letter
        ("İpek@x.tr", "i\u0307pek@x.tr"),
        ("\u1fc3\u0323@x.gr", "\u03b7\u0323\u0345@x.gr", "\u0397\u0345\u0323@x.gr"),  # marks in another order
    ],
)
def test_addresses_that_differ_in_case_alone_are_one(others: tuple[str, ...]) -> None:
    assert len({email_key(address) for address in others}) == 1


@pytest.mark.parametrize("address", ["ΟΔΟΣ@x.gr", "İpek@x.tr", "zoe\u0308@x.org", "\u1fc3\u0323@x.gr"])
def test_the_key_of_a_key_is_itself(address: str) -> None:
    assert email_key(email_key(address)) == email_key(address)


def test_a_dotted_capital_i_is_not_a_plain_i() -> None:
    assert email_key("İ@x.org") != email_key("i@x.org")
