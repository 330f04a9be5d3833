"""The edge to other programs: what they may ask, and of which files."""
