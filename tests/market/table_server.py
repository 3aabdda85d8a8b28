"""A loopback server that answers each path with what the test put there."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Reply = tuple[int, str, str]
Query = dict[str, str]


@dataclass
class TableServer:
    """What is answered, which troubles come first, and what was asked."""

    url: str = ""
    answer: Callable[[str, Query], Reply] = lambda path, query: (404, "text/plain", "")
    troubles: list[Reply] = field(default_factory=list)
    drip_s: float = 0.0
    claim_more_bytes: int = 0
    asked: list[tuple[str, Query, dict[str, str]]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def queries(self) -> dict[str, list[Query]]:
        """List the queries by path."""
        found: dict[str, list[Query]] = defaultdict(list)
        for path, query, _ in self.asked:
            found[path].append(query)
        return found


@contextmanager
def running() -> Iterator[TableServer]:
    """Run the server on a free port of the loopback interface."""
    state = TableServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            with state.lock:
                state.asked.append((parts.path, query, dict(self.headers)))
                trouble = state.troubles.pop(0) if state.troubles else None
            status, kind, text = trouble or state.answer(parts.path, query)
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body) + state.claim_more_bytes))
            self.end_headers()
            with suppress(ConnectionError):  # whoever gave up does not listen any more
                for position in range(0, len(body), 64) if state.drip_s else ():
                    self.wfile.write(body[position : position + 64])
                    threading.Event().wait(state.drip_s)
                if not state.drip_s:
                    self.wfile.write(body)

        def log_message(self, format: str, *args: Any):  # noqa: A002  (the base's name)
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
