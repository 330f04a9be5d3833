"""Guideline tables: what documents say, with sources and dates, as data."""
