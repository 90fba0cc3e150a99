"""Recurring notifications: their cron lines, the table, the service and the firing."""
