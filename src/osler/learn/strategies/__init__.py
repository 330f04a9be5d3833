"""Ways to learn: each one file and one entry in `osler.learn.strategies.catalogue.STRATEGIES`."""
