"""How the channels of a notification are used: all, the first that does, or in turn."""
