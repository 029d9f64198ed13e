"""Run folders -> tables and one HTML page; imports no torch."""
