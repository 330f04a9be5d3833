"""Training of the models of the fundus that come with Osler: photographs drawn on canvases."""
