"""The certificate authorities that the providers' servers may show."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import certifi


class Trust:
    """The usual authorities, or those of SSL_CERT_FILE, and an extra file of them.

    libcurl and the token fetch take one file. Without an extra one nothing is written.
    """

    def __init__(self, extra: Path | None = None) -> None:
        usual = os.environ.get("SSL_CERT_FILE") or certifi.where()
        self.path = usual
        self._joined: Path | None = None
        if extra is not None:
            joined = extra.read_bytes() + b"\n" + Path(usual).read_bytes()
            handle, self.path = tempfile.mkstemp(prefix="clarion-", suffix=".pem")
            os.close(handle)
            self._joined = Path(self.path)
            self._joined.write_bytes(joined)

    def close(self) -> None:
        """Removes what was written."""
        if self._joined is not None:
            self._joined.unlink(missing_ok=True)
