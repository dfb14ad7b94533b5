"""What the pages show, computed so that templates only lay it out. Pure."""
