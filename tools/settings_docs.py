"""Write the settings into docs/settings.md and kalshi-bus.example.toml: ``make settings``."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- settings -->\n", "<!-- /settings -->"


def main() -> None:
    """Rewrite both files."""
    sys.path.insert(0, str(ROOT))
    from bus.process.settings import example_toml, settings_table

    document = ROOT / "docs/settings.md"
    before, rest = document.read_text().split(BEGIN)
    document.write_text(before + BEGIN + settings_table() + END + rest.split(END)[1])
    (ROOT / "kalshi-bus.example.toml").write_text(example_toml())


if __name__ == "__main__":
    main()
