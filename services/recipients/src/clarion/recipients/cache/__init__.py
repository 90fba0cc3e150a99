"""What stands in Valkey: profiles, and the mirror of the suppressions."""
