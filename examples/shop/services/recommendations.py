"""Recommendations, in another language and without a library for sessions.

The proxy asks Holdfast about each request and says in headers who calls. The assertion that comes along
is signed, so that this service need not believe whoever reaches its port.
"""

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import jwt

keys = jwt.PyJWKClient(os.environ["JWKS_URL"])
products = ["Green tea", "Rye bread", "Plum jam", "Oat biscuits", "Teapot"]


def verified(token):
    """The claims of an assertion for this service, by the public keys of `holdfast serve`."""
    if jwt.get_unverified_header(token).get("typ") != "txntoken+jwt":
        raise jwt.InvalidTokenError("no assertion")
    return jwt.decode(
        token,
        keys.get_signing_key_from_jwt(token).key,
        algorithms=["EdDSA"],
        audience="recommendations",
        issuer=os.environ["ISSUER"],
        leeway=5,
        options={"require": ["exp", "iat", "sub", "sid"]},
    )


class Recommendations(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        user = unquote(self.headers.get("X-Holdfast-User", ""))
        try:
            if verified(self.headers.get("Txn-Token", ""))["sub"] != user:
                raise jwt.InvalidTokenError("somebody else's assertion")
        except jwt.PyJWKClientError:
            return self.answer(503, {"code": "keys-unavailable"})
        except jwt.InvalidTokenError:
            return self.answer(401, {"code": "unauthenticated"})
        first = sum(user.encode()) % len(products)
        self.answer(200, {"user": user, "items": (products * 2)[first : first + 2]})

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        # A proxy that goes away is no news.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


signal.signal(signal.SIGINT, lambda *_: sys.exit())
Server(("127.0.0.1", int(os.environ["PORT"])), Recommendations).serve_forever()
