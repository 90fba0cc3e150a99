"""The channel email: deliveries to a mail server by SMTP."""
