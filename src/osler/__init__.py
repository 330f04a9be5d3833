"""Osler reads a patient's record with medical foundation models."""
