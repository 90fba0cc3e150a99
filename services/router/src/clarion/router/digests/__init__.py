"""Digests: several notifications of one person become one message."""
