"""The pages of the documentation that the trader's tests read."""

from tests.support import ROOT

DOCS = (ROOT / "docs" / "trader.md").read_text()
