"""The calls of the SDK, a module for each noun; ``Client`` has them all."""
