"""What happens around every RPC on the server, outermost first.

``tracing`` span and remote context, ``request_log`` log line and histogram, ``errors``
exceptions to statuses, ``deadline`` the caller's budget, ``authentication`` who calls,
``validation`` the rules of the contract. ``pipeline`` binds them, once for each method.
"""

from __future__ import annotations
