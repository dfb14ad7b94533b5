"""What a message may repeat of a setting's value: all of it if it cannot be a secret, else only its shape.

Sooner or later a key, its id or a token ends up in the wrong variable, and the error message gets copied into
a forum. So a value is repeated only if it cannot be a secret: a number, a short word, a word like those
accepted, a URL's host, a path as far as it exists. Everything else is described by length and kind. Every
message that contains a setting gets its words here, and nowhere else.
"""

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

MAX_TEXT: Final = 100
KEY_TEXT: Final = "the text of a key"
_NUMBER: Final = re.compile(r"[-+]?(?:\d[\d_]{0,19}\.?\d{0,12}(?:[eE][-+]?\d{1,6})?|nan|inf)|[-+]?0x\w{1,16}")
_WORD: Final = re.compile(r"[A-Za-z]{1,5}")
_PIECES: Final = re.compile(r"(?:[A-Z]?[a-z]{1,15}\d{0,4}|[A-Z]{1,5}|\d{1,6})(?:[-_ ](?=\w)|$)")
_FILE: Final = re.compile(r"\.?(?P<stem>[\w -]{1,60}?)\.(?:pem|key|der|pub|txt|toml|csv|json|py|sock)")
_FOLDER: Final = re.compile(r"\.?[a-z]{1,12}")
_HOST: Final = re.compile(
    r"\*|\[?[0-9a-f:.]{3,39}\]?|(?:[a-z]{1,15}[0-9]{0,3}(?:-[a-z]{1,15})*\.)*[a-z]{2,15}"
)
_IDENTIFIER: Final = re.compile(r"[A-Za-z][A-Za-z_]{0,59}")
_KEY_FORM: Final = re.compile(
    r"-----BEGIN|PRIVATE\sKEY|\bMII[A-Za-z0-9+/]{20}|\bb3BlbnNzaC1rZXk|\bssh-(?:rsa|ed25519) "
)
_KEY_LINE: Final = re.compile(r"[A-Za-z0-9+][A-Za-z0-9+/]{39,}={0,2}")
_KEY_ID: Final = re.compile(r"(?i)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def kind_of_secret(text: str) -> str | None:
    """Return what kind of secret a text contains, as far as one can tell by looking at it."""
    if _KEY_FORM.search(text):
        return KEY_TEXT
    if _KEY_ID.search(text):
        return "what looks like the id of a key"
    if "@" in text and "://" in text:
        return "a URL with a user or password in it"
    return None


def shown(value: object, accepted: Iterable[str] = ()) -> str:
    """Return how a message refers to a value that was set: repeated if it cannot be a secret, else described.

    Args:
        accepted: words that would be right; a value that resembles one is repeated.
    """
    if value is None or isinstance(value, (bool, float)):
        return repr(value)
    if isinstance(value, int):
        return repr(value) if value.bit_length() <= 128 else f"an integer of {value.bit_length()} bits"
    if isinstance(value, Path):
        return shown_path(value)
    if not isinstance(value, str):
        return "a table" if isinstance(value, dict) else f"a {type(value).__name__}"
    secret = kind_of_secret(value)
    if secret is None and (
        not value
        or _NUMBER.fullmatch(value)
        or _WORD.fullmatch(value)
        or (len(value) <= MAX_TEXT and difflib.get_close_matches(value.lower(), [*accepted], n=1, cutoff=0.7))
    ):
        return repr(value)
    if secret is None and "://" in value:
        return _shown_url(value)
    return f"{secret or 'a text'} ({len(value)} characters, hidden)"


def told(text: str) -> str:
    """Return how a list of all settings shows a text that was accepted: repeated unless it is a secret.

    Some texts are accepted without a closer look, such as the name of a strategy that is loaded later.
    """
    secret = kind_of_secret(text) or ("a line of a key" if _is_line_of_key(text) else None)
    return text if secret is None else f"({secret}, {len(text)} characters, hidden)"


def _is_line_of_key(text: str) -> bool:
    return _KEY_LINE.fullmatch(text) is not None and all(
        re.search(kind, text) for kind in ("[a-z]", "[A-Z]", "[0-9]")
    )


def shown_name(name: str) -> str:
    """Return how a message refers to the name of a setting, which may be a value in the wrong place."""
    known = _IDENTIFIER.fullmatch(name) and kind_of_secret(name) is None
    return name if known else f"(a name of {len(name)} characters, hidden)"


def shown_path(path: Path) -> str:
    """Return how a message refers to a path: repeated as far as it exists, or names a file in plain words.

    What does not exist is probably not a path at all; its neighbours say what was meant.
    """
    there = path
    try:
        while not there.exists() and not there.is_symlink() and there != there.parent:
            there = there.parent
        missing = path.relative_to(there).parts
    except (OSError, ValueError):  # too long for the system, or not a path at all
        return f"a path of {len(str(path))} characters, hidden"
    if not missing:
        return str(path)
    last = _FILE.fullmatch(missing[-1])
    plain = [_plain(part.removeprefix(".")) for part in missing[:-1]]
    plain.append(bool(_FOLDER.fullmatch(missing[-1])) or (last is not None and _plain(last["stem"])))
    if all(plain) and len(missing) <= 3:
        return str(path)
    return str(there / f"(a name of {len('/'.join(missing))} characters, hidden)")


def _plain(text: str) -> bool:
    """Tell whether a name consists of a few plain words."""
    at = count = 0
    while at < len(text):
        piece = _PIECES.match(text, at)
        if piece is None or count == 4:
            return False
        at, count = piece.end(), count + 1
    return count > 0 and kind_of_secret(text) is None


def _shown_url(value: str) -> str:
    described = f"a URL ({len(value)} characters, hidden)"
    try:
        parts = urlsplit(value)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return described
    if not _WORD.fullmatch(parts.scheme) or (host and not _HOST.fullmatch(host)):
        return described
    rest = parts.path + parts.query + parts.fragment
    more = f" and {len(rest)} characters more" if rest.strip("/") else ""
    return repr(f"{parts.scheme}://{host}{'' if port is None else f':{port}'}") + more
