"""A study's folder while it runs: what was decided and which cells are asked for (`store`), one live process a cell
(`claim`), rows and curves written out (`export`), read back on a new checkout (`restore`), how far along (`progress`).
"""
