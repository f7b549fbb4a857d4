"""What stands before the app: who may call, from where, and how much may be sent. It also counts and names answers."""

import asyncio
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from harmoniad.serving.metrics import Metrics
from harmoniad.serving.settings import Settings

BODY_SECONDS = 30  # in which a request must have come
BODIES_AT_ONCE = 16  # so many of the largest size are held at the same time, all bodies together
COOKIE, LOGIN = "harmoniad_session", "/review/login"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}

Refusal = tuple[int, str, Mapping[str, str]]


class Keys:
    """Secrets of one run of the server: restarting it ends all sessions and makes open pages stale."""

    def __init__(self, token: str) -> None:
        self._token, self._key = token.encode(), secrets.token_bytes(32)

    @property
    def session(self) -> str:
        """What the cookie of a person holds who gave the token."""
        return self._derived("session")

    @property
    def form(self) -> str:
        """What every form of the pages holds, so that no other site's form counts."""
        return self._derived("form")

    def is_token(self, text: str) -> bool:
        """Whether it is the token, in constant time."""
        # Hashed, so that not even the length shows.
        return hmac.compare_digest(hashlib.sha256(text.encode()).digest(), hashlib.sha256(self._token).digest())

    def is_form(self, text: str) -> bool:
        """Whether a form holds the key of this run."""
        return hmac.compare_digest(text.encode(), self.form.encode())

    def _derived(self, purpose: str) -> str:
        return hmac.new(self._key, purpose.encode(), hashlib.sha256).hexdigest()


class Guard:
    """ASGI middleware."""

    def __init__(
        self, app: ASGIApp, settings: Settings, keys: Keys, metrics: Metrics, is_full: Callable[[], bool]
    ) -> None:
        self._app, self._settings, self._keys, self._metrics = app, settings, keys, metrics
        self._is_full = is_full
        self._held = 0  # bytes of bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it before its body is read."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope)
        try:
            if refusal is not None:
                await _refuse(refusal, receive, answer)
            else:
                await self._serve(scope, receive, answer)
        finally:
            self._metrics.observe(scope["path"], status, time.monotonic() - started)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        held, until = 0, time.monotonic() + BODY_SECONDS
        is_whole = False

        async def bounded() -> Message:
            nonlocal held, is_whole
            if is_whole:
                return await receive()  # waits for the client to go
            try:
                message = await asyncio.wait_for(receive(), max(0.01, until - time.monotonic()))
            except TimeoutError as error:
                raise _closing(408, f"the request did not come within {BODY_SECONDS} s") from error
            size = len(message.get("body", b""))
            held += size
            self._held += size
            is_whole = not message.get("more_body", False)
            if held > self._settings.max_bytes:
                raise _closing(413, self._too_large)
            if self._held > max(BODIES_AT_ONCE * self._settings.max_bytes, held):
                raise _closing(429, "too many requests at once", {"Retry-After": "1"})
            return message

        try:
            await self._app(scope, bounded, send)
        finally:
            self._held -= held

    @property
    def _too_large(self) -> str:
        return f"the request is too large: at most {self._settings.max_bytes / 1_000_000:g} MB"

    def _refusal(self, scope: Scope) -> Refusal | None:
        headers, path = Headers(scope=scope), scope["path"]
        host = headers.get("host", "")
        if self._settings.names and _name(host) not in self._settings.names:
            return 403, "this name is not allowed: start the server with --allow-host NAME", {}
        if scope["method"] not in SAFE_METHODS and _is_cross_site(headers, host):
            return 403, "requests from other sites are not answered", {}
        if self._settings.token and path != "/health" and not self._may_enter(headers, path):
            if path.startswith("/review") and scope["method"] in SAFE_METHODS:
                return 303, "log in first", {"Location": LOGIN}
            return 401, "a token is needed: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"}
        return None if scope["method"] in SAFE_METHODS else self._no_room(headers, path)

    def _no_room(self, headers: Headers, path: str) -> Refusal | None:
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length[:20]) > self._settings.max_bytes:
            return 413, self._too_large, {}
        if path == "/predict" and self._is_full():
            return 429, "the queue is full", {"Retry-After": "1"}
        return None

    def _may_enter(self, headers: Headers, path: str) -> bool:
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._keys.is_token(token.strip()):
            return True
        if path == LOGIN or path.startswith("/static/"):
            return True
        if not path.startswith("/review"):
            return False
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and hmac.compare_digest(cookie.value.encode(), self._keys.session.encode())


def _name(host: str) -> str:
    """The name in a Host header, without the port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_cross_site(headers: Headers, host: str) -> bool:
    """Whether a browser says that another site's page sends this; programs that are no browsers say nothing."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return True
    origin = headers.get("origin")
    return origin is not None and _authority(origin) != host


def _authority(origin: str) -> str:
    """Host and port of an origin; empty for one that is none, such as `null`."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _closing(status: int, reason: str, headers: Mapping[str, str] | None = None) -> HTTPException:
    return HTTPException(status, reason, headers={"Connection": "close", **(headers or {})})


async def _refuse(refusal: Refusal, receive: Receive, send: Send) -> None:
    """Answer without reading the body, but give the sender a moment to take the answer before the line is cut."""
    status, reason, more = refusal
    body = json.dumps({"detail": reason}).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close", **more}
    encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    until = time.monotonic() + 1
    more_body = True
    while more_body and time.monotonic() < until:
        try:
            message = await asyncio.wait_for(receive(), max(0.01, until - time.monotonic()))
        except TimeoutError:
            break
        more_body = message.get("more_body", False)
    await send({"type": "http.response.body", "body": b""})
