"""Afina: the helper package that the course's notebooks share."""

__version__ = "0.1.0"
