"""What the pages show, worked out so that templates only write it down. Pure."""
