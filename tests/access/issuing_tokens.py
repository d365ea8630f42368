"""A token issuer: keys, signed tokens, and a real HTTP server that publishes the keys."""

import base64
import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

AUDIENCE = "orders"


class Issuer:
    """An issuer on a port of its own. `asked` lists the paths that were fetched.

    `status` is what it answers, after `delay_seconds`, with the keys that it had when it was asked.
    """

    def __init__(self) -> None:
        self.rsa = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.ec = ec.generate_private_key(ec.SECP256R1())
        self.ed = ed25519.Ed25519PrivateKey.generate()
        self.asked: list[str] = []
        self.status = 200
        self.delay_seconds = 0.0
        self.body: bytes | None = None
        self.url = ""
        self.kids = {"rsa": self.rsa, "ec": self.ec, "ed": self.ed}

    def documents(self) -> dict[str, Any]:
        algorithms = {"rsa": jwt.algorithms.RSAAlgorithm, "ec": jwt.algorithms.ECAlgorithm}
        listed = []
        for kid, key in self.kids.items():
            algorithm = algorithms.get(kid.partition("-")[0], jwt.algorithms.OKPAlgorithm)
            listed.append(algorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": kid, "use": "sig"})  # type: ignore[attr-defined]
        secret = {"kty": "oct", "kid": "secret", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U"}
        return {
            "/keys": {"keys": [*listed, secret]},
            "/.well-known/openid-configuration": {"issuer": self.url, "jwks_uri": f"{self.url}/keys"},
        }

    def claims(self, subject: str = "ada", **more: object) -> dict[str, Any]:
        moment = int(time.time())
        claims = {"iss": self.url, "aud": AUDIENCE, "sub": subject, "exp": moment + 300, "iat": moment} | more
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, subject: str = "ada", kid: str = "rsa", alg: str = "RS256", **more: object) -> str:
        return jwt.encode(self.claims(subject, **more), self.kids[kid], alg, {"kid": kid})


def made_up() -> str:
    """A token with a header that looks right. Nobody has the key that it names."""
    return raw({"alg": "RS256", "kid": uuid4().hex}, {"sub": "eve"})


def raw(header: object, claims: object, signature: bytes = b"x") -> str:
    """A token of any header and claims."""
    parts = [it if isinstance(it, bytes) else json.dumps(it).encode() for it in (header, claims)]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (*parts, signature))


def address() -> str:
    """The address of a client that sends a token."""
    return "192.0.2.1"


@contextlib.contextmanager
def issuing() -> Iterator[Issuer]:
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.asked.append(self.path)
            body = issuer.body or json.dumps(issuer.documents().get(self.path, {})).encode()
            time.sleep(issuer.delay_seconds)  # as a slow issuer does
            self.send_response(issuer.status)
            if issuer.status == 302:
                self.send_header("Location", f"{issuer.url}/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):  # the service hung up
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
