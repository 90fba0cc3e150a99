"""What every Clarion service stands on; the only code that services share.

Belongs here: starting and stopping a service, gRPC servers and channels, streams,
errors, health, telemetry, configuration and the delivery pipeline of the channels.
Does not belong here: anything that only one service needs.
"""
