"""Push: FCM v1 and APNs adapters."""
