"""One third party per module."""
