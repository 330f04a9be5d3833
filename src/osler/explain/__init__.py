"""Why a model answered as it did: maps, how far each can be believed, and the evidence in words.

From outside, with any model that answers (numpy only): `osler.explain.occlusion`. From inside a
torch network: ``osler.explain.inside`` (class activation maps, gradients, attention). Each map has
its faithfulness beside it, and is compared with the map of random weights.
"""
