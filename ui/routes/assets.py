"""The static files."""

import hashlib
import mimetypes
from importlib.resources import files

from flask import Response, url_for
from werkzeug.exceptions import NotFound


class Assets:
    """The static files, read once. Their URLs contain a hash, so browsers may cache them for ever."""

    def __init__(self) -> None:
        root = files("ui") / "static"
        self._files = {entry.name: entry.read_bytes() for entry in root.iterdir() if entry.is_file()}
        vendored = root / "vendor"
        self._files |= {
            f"vendor/{entry.name}": entry.read_bytes() for entry in vendored.iterdir() if entry.is_file()
        }
        whole = hashlib.sha256(b"".join(self._files[name] for name in sorted(self._files)))
        self._version = whole.hexdigest()[:12]

    def url(self, name: str) -> str:
        """Return the URL of a file.

        The version is a folder, so that modules import others of the same version.
        """
        return url_for("static", name=f"{self._version}/{name}")

    def static(self, name: str) -> Response:
        """Answer with a file, given its name or its versioned path below /static."""
        version, _, rest = name.partition("/")
        if version == self._version:
            name = rest
        else:
            version = ""
        body = self._files.get(name)
        if body is None:
            raise NotFound("No such file.")
        kind = "text/javascript" if name.endswith(".js") else mimetypes.guess_type(name)[0]
        response = Response(body, mimetype=kind)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if version else "no-cache"
        return response

    def favicon(self) -> Response:
        """Answer with the icon that browsers request of their own accord."""
        return self.static("favicon.svg")
