"""The time machine: what was recorded, asked for as it was at any moment. A process of its own."""
