"""A page that is made again when its results change, and served to a team on one host: read-only."""

import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LOCAL = "127.0.0.1"
NAMES = ("localhost", LOCAL, "[::1]")


def seen_at(places: Sequence[Path]) -> list[tuple[str, int, int]]:
    """Records and run files at the places, with their sizes and the times of their last change."""
    files = [file for place in places for file in ([place] if place.is_file() else place.rglob("*.json*"))]
    return sorted(filter(None, map(_state, files)))


def _state(file: Path) -> tuple[str, int, int] | None:
    try:
        found = file.stat()
    except OSError:  # gone meanwhile
        return None
    return str(file), found.st_size, found.st_mtime_ns


def watch(
    places: Sequence[Path],
    make: Callable[[], Path],
    say: Callable[[str], None],
    wait: Callable[[], bool],
) -> None:
    """Make a page again whenever results have changed; what goes wrong once, as with a file half copied, is said.

    Args:
        places: Where the results are.
        make: Makes the page.
        say: Shows a line.
        wait: Waits until it is time to look again, and returns whether to go on.
    """
    seen = seen_at(places)
    while wait():
        now = seen_at(places)
        if now == seen:
            continue
        try:
            say(f"{make()} at {time.strftime('%H:%M:%S')}")
        except (ValueError, OSError) as error:
            say(f"not made again: {error}")
        seen = now


def server(page: Path, address: tuple[str, int]) -> ThreadingHTTPServer:
    """A server of one file and nothing else, to GET and HEAD; OSError if the port is taken.

    On this machine's own address it answers only to this machine's names, so that no page from elsewhere can read it.
    """

    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "lcx", ""

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def _answer(self, with_body: bool) -> None:
            host = (self.headers.get("Host") or "").rpartition(":")[0] or (self.headers.get("Host") or "")
            if address[0] == LOCAL and host not in NAMES:
                self.send_error(HTTPStatus.FORBIDDEN)
                return
            if self.path.partition("?")[0] not in ("/", f"/{page.name}"):
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            body = page.read_bytes()
            self.send_response(HTTPStatus.OK)
            headers = {"Content-Type": "text/html; charset=utf-8", "Content-Length": str(len(body))}
            headers |= {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY"}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the terminal shows when the page was made again."""

    return ThreadingHTTPServer(address, Handler)


def address_of(text: str) -> tuple[str, int]:
    """Host and port of "8000" or "0.0.0.0:8000"; this machine alone unless a host is given.

    Raises:
        ValueError: If it is none of these.
    """
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"--serve needs a port such as 8000, or a host and a port such as 0.0.0.0:8000; got {text!r}.")
    return host or LOCAL, int(port)
