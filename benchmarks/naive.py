"""The design that the snapshot server replaced: Flask, turning dicts into JSON on every request.

``python -m benchmarks.naive PORT FILE``: serve the answer in FILE.
"""

import json
import sys
from pathlib import Path

from flask import Flask, Response, jsonify
from werkzeug.serving import WSGIRequestHandler, make_server


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # keep-alive

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log nothing."""


def main(port: int, path: Path) -> None:
    """Serve for ever."""
    app = Flask("naive")
    answer = json.loads(path.read_bytes())

    @app.get("/markets")
    def markets() -> Response:
        return jsonify(answer)

    @app.get("/health")
    def health() -> Response:
        return jsonify({"status": "ok", "market_count": len(answer["markets"]["markets"])})

    make_server("127.0.0.1", port, app, threaded=True, request_handler=_Quiet).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
