"""An OAuth issuer for one check: it signs in whoever comes, without a page, and does what a check wants it to."""

import base64
import hashlib
import http.server
import json
import math
import secrets
import threading
import time
import urllib.parse

CLIENT = "console-of-the-tests"
AUDIENCE = "agent-relay-console"
# What the stack's authorizer allows for clocks that differ.
LEEWAY = 60
# DigestInfo of SHA-256 (RFC 8017, section 9.2).
SHA256 = bytes.fromhex("3031300d060960864801650304020105000420")
SMALL = math.prod(it for it in range(3, 2_000, 2) if all(it % factor for factor in range(3, int(it**0.5) + 1, 2)))


def text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def is_prime(number: int) -> bool:
    """Miller and Rabin's test: wrong once in 4^20 times."""
    if math.gcd(number, SMALL) > 1:
        return False
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for _ in range(20):
        power = pow(secrets.randbelow(number - 3) + 2, odd, number)
        if power not in (1, number - 1) and all((power := power * power % number) != number - 1 for _ in range(twos - 1)):
            return False
    return True


def prime(bits: int) -> int:
    while True:
        # The two highest bits make the product of two as long as it should be.
        number = secrets.randbits(bits) | (3 << bits - 2) | 1
        if number % 65537 != 1 and is_prime(number):
            return number


class Key:
    """An RSA key, by integers alone: no library is worth installing for one check."""

    def __init__(self):
        one, other = prime(1024), prime(1024)
        self.modulus = one * other
        self._private = pow(65537, -1, (one - 1) * (other - 1))

    def public(self) -> dict:
        modulus = text(self.modulus.to_bytes(256, "big"))
        return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "one", "n": modulus, "e": "AQAB"}

    def token(self, claims: dict) -> str:
        parts = ({"alg": "RS256", "kid": "one", "typ": "at+jwt"}, claims)
        message = ".".join(text(json.dumps(part).encode()) for part in parts)
        digest = SHA256 + hashlib.sha256(message.encode()).digest()
        padded = b"\x00\x01" + b"\xff" * (253 - len(digest)) + b"\x00" + digest
        signature = pow(int.from_bytes(padded, "big"), self._private, self.modulus)
        return f"{message}.{text(signature.to_bytes(256, 'big'))}"


class Issuer(http.server.ThreadingHTTPServer):
    """Listens where the stack expects it."""

    daemon_threads = True

    def __init__(self, url: str):
        self.url = url
        self.key = Key()
        # What it has been asked, and the codes it has given for that.
        self.asked: list[dict[str, str]] = []
        self.codes: dict[str, dict[str, str]] = {}
        # What a check wants of it: `refusal` instead of a code, another `state`, that it forgets its codes, tokens that
        # end so many seconds after they were issued.
        self.refusal: dict[str, str] = {}
        self.state: str | None = None
        self.forgets = False
        self.lifetime = 600
        super().__init__(("127.0.0.1", urllib.parse.urlsplit(url).port), Answer)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def authorize(self, asked: dict[str, str]) -> str:
        """Where the visitor is sent with what was asked for."""
        assert asked["response_type"] == "code" and asked["client_id"] == CLIENT, asked
        assert asked["code_challenge_method"] == "S256" and len(asked["code_challenge"]) == 43, asked
        self.asked.append(asked)
        code = secrets.token_urlsafe()
        self.codes[code] = asked
        given = {"state": self.state or asked["state"], **(self.refusal or {"code": code, "iss": self.url})}
        return f"{asked['redirect_uri']}?{urllib.parse.urlencode(given)}"

    def exchange(self, given: dict[str, str]) -> tuple[int, dict]:
        asked = self.codes.pop(given.get("code", ""), None)
        if asked is None or self.forgets:
            return 400, {"error": "invalid_grant", "error_description": "The code is not known."}
        challenge = text(hashlib.sha256(given["code_verifier"].encode()).digest())
        same = all(given[name] == asked[name] for name in ("client_id", "redirect_uri"))
        if challenge != asked["code_challenge"] or not same or given["grant_type"] != "authorization_code":
            return 400, {"error": "invalid_grant", "error_description": f"This is not who asked for the code: {given}"}
        now = int(time.time())
        claims = {"iss": self.url, "aud": AUDIENCE, "sub": "ana", "iat": now, "exp": now + self.lifetime, "scope": asked["scope"]}
        return 200, {"access_token": self.key.token(claims), "token_type": "Bearer", "expires_in": self.lifetime}


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/authorize":
            self.send_response(302)
            self.send_header("location", self.server.authorize(dict(urllib.parse.parse_qsl(url.query))))
            self.end_headers()
        elif url.path == "/.well-known/oauth-authorization-server":
            self.answer(200, {"issuer": self.server.url, "jwks_uri": f"{self.server.url}/keys"})
        elif url.path == "/keys":
            self.answer(200, {"keys": [self.server.key.public()]})
        else:
            self.answer(404, {})

    def do_POST(self):
        """The token endpoint, which pages may call, but without cookies and headers of their own: no preflight is answered."""
        form = self.rfile.read(int(self.headers["content-length"])).decode()
        assert self.path == "/token" and not {"cookie", "authorization", "x-api-key"} & {it.lower() for it in self.headers}
        self.answer(*self.server.exchange(dict(urllib.parse.parse_qsl(form))))

    def answer(self, status: int, body: dict):
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("cache-control", "no-store")
        self.send_header("access-control-allow-origin", self.headers.get("origin", "null"))
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_):
        """Nobody wants to know."""
