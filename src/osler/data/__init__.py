"""Many cases: cohorts as tables of paths and labels."""
