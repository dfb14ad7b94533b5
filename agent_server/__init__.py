"""What is known here, for agents: the Model Context Protocol over stdio (docs/agents.md)."""
