"""The bus for agents: a Model Context Protocol server over stdio (docs/agents.md)."""
