"""How e-mail addresses are compared, on both sides: the write side's unique claim and the read side's filter."""

from unicodedata import normalize


def email_key(address: str) -> str:
    """The address as it is compared: without regard to case, whatever the alphabet.

    Source: The Unicode Standard, section 3.13, D145: canonical caseless matching. Two
    addresses are one person's if their keys are equal.
    """
    return normalize("NFC", normalize("NFD", address).casefold())
