"""Relations: work that needs other rows. Definitions of the contract in `relation.py`, found by the registry."""
