"""Bounded low-rank adapters, a PEFT method of their own."""
