"""Tracking: the event log, delivery state, roll-ups and reconciliation."""
