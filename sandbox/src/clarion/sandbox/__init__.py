"""Every provider that Clarion talks to, on loopback, with scripted faults."""
