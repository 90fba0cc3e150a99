"""SMS: Twilio adapter, receipts."""
