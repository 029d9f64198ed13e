"""Make a trained transformer forget what it is told to forget, keep the rest, and prove both."""

__version__ = "0.1.0"
