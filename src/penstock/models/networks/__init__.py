"""Architectures of networks: small torch modules, each documented with the shapes that go through it."""
