"""A server that speaks OpenAI's protocol over HTTP and does what the test says."""

import contextlib
import http.server
import json
from collections.abc import Callable
from typing import Any


def says(content: Any, **choice: Any) -> tuple[int, Any]:
    """A reply of status 200 with this text."""
    return 200, {"choices": [{"message": {"role": "assistant", "content": content}} | choice]}


class Server:
    """An endpoint on a free port. ``answer`` gives (status, document or bytes, headers...) for a request."""

    def __init__(self, answer: Callable[[dict[str, Any]], tuple[Any, ...]]) -> None:
        self.answer, self.requests, self.headers = answer, [], []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.requests.append(request)
                server.headers.append((self.path, dict(self.headers)))
                status, content, *headers = server.answer(request)
                if status == 0:  # hangs up
                    self.close_connection = True
                    return
                body = content if isinstance(content, bytes) else json.dumps(content).encode()
                with contextlib.suppress(OSError):  # the client may be gone
                    self.send_response(status)
                    for name, value in headers:
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"
