"""Methods that look inside a torch network; each imports torch when it is called."""
