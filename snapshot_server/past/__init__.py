"""The time machine: answers from what was recorded, as it was at any moment. A process of its own."""
