"""What a model is asked: how a photograph becomes an array, and scores become findings."""
