"""What can go wrong with the embedded stack.

EmbeddedError
├── MissingProgramError   a server is neither in a wheel nor on PATH
├── StartError            a process did not become ready
├── AlreadyRunningError   another supervisor holds the data folder
└── NotRunningError       no supervisor holds the data folder
"""

from __future__ import annotations


class EmbeddedError(Exception):
    """The embedded stack cannot do what was asked; the text says what to do."""


class MissingProgramError(EmbeddedError):
    """A server is neither in a wheel nor on PATH; the text says what to install."""


class StartError(EmbeddedError):
    """A process did not become ready; the text ends with the tail of its log."""


class AlreadyRunningError(EmbeddedError):
    """Another supervisor holds the data folder."""


class NotRunningError(EmbeddedError):
    """No supervisor holds the data folder."""
