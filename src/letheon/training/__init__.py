"""The loop, forget/retain pairing, stop rules, stability diagnostics."""
