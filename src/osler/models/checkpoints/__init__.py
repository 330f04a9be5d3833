"""Published checkpoints: read safely, recognised, translated, reported."""
