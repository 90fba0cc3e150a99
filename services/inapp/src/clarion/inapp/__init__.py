"""In-app: the inbox, list and live watch."""
