"""The ports in Valkey."""
