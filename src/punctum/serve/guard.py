"""What stands around every request: who may ask, what a browser may do with the answer, what is counted."""

import logging
from collections.abc import Collection
from time import perf_counter

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from punctum.serve.metrics import Metrics

# Pictures and videos that the user has opened are blobs; everything else is this server's.
POLICY = (
    "default-src 'self'; img-src 'self' blob:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
COUNTED = ("/predict", "/health", "/metrics", "/model", "/openapi.json")

log = logging.getLogger("punctum.serve")


class Guard:
    """The outermost layer.

    Args:
        app: what is guarded.
        metrics: told of every answer.
        hosts: names by which the server may be called; None: any. A page of another site that lets its own name point
            here (DNS rebinding) would otherwise be taken for ours.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, hosts: Collection[str] | None) -> None:
        self.app, self.metrics, self.hosts = app, metrics, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = perf_counter(), 0

        async def with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        try:
            refusal = self._refusal(scope)
            await (refusal or self.app)(scope, receive, with_headers)
        except Exception:
            # The log is the host's; whoever asked learns nothing of our files.
            log.exception("%s %s", scope["method"], scope["path"][:200])
            if not status:
                await _error(500, "something went wrong in the server; its log says what")(
                    scope, receive, with_headers
                )
        finally:
            path = scope["path"] if scope["path"] in COUNTED else "other"
            self.metrics.answered(path, status or 500, perf_counter() - started)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        if self.hosts is not None and host_of(headers.get("host", "")) not in self.hosts:
            return _error(421, "the server is not called by this name: start it with --allow-host NAME")
        # Browsers send this with every request; other programs need not.
        if scope["method"] == "POST" and headers.get("sec-fetch-site", "") in ("cross-site", "same-site"):
            return _error(403, "pages of other sites may not send pictures here")
        return None


def host_of(header: str) -> str:
    """The name in a Host header, without its port.

    Example:
        >>> host_of("LocalHost:8000"), host_of("[::1]:8000")
        ('localhost', '::1')
    """
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message}, status)
