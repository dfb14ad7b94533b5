"""Tests on the exchange itself what it is assumed to do: docs/probe.md."""
