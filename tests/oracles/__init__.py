"""Oracles: attention written again from its definition, sharing no code with the package they judge."""
