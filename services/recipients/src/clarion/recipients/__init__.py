"""Recipients: profiles, devices, preferences, consent and suppressions."""
