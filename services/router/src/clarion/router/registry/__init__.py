"""Registered types of notification."""
