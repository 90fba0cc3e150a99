"""The errors of the mesh, raised by domain code and turned into statuses in one place.

::

    ClarionError
    ├── InvalidArgumentError          the request is wrong; names the fields
    │   ├── InvalidPageTokenError     the page token is not one of this list
    │   └── TemplateInvalidError      a template cannot be rendered with the data
    ├── UnauthenticatedError          no caller
    │   ├── MissingCredentialError    no credential was sent
    │   ├── InvalidCredentialError    the one that was sent is unknown
    │   └── MissingTenantError        a service credential without a tenant
    ├── PermissionDeniedError         a caller, but not allowed
    │   ├── MissingScopeError         its key lacks the scope of the RPC
    │   └── InvalidSignatureError     a callback's or link's signature is wrong
    ├── NotFoundError                 what was named does not exist for this tenant
    ├── ConflictError                 it exists already
    │   └── IdempotencyKeyReusedError the same key came with another body
    ├── PreconditionError             right request, wrong state
    ├── UnsupportedError              in the contract, not in this build
    ├── RequestTooLargeError          over the size limit; repeating is no use
    ├── TransientError                the same call may work later: held and retried
    │   ├── OverloadedError           over a limit now; says when to come back
    │   ├── UnavailableError          a dependency does not answer
    │   └── DeadlineError             the caller's time ran out
    ├── InternalError                 our fault; the caller sees a fixed text
    └── ConfigError                   settings are wrong; never crosses a wire

The message of an error under "our fault" or "transient dependency" is for the log:
``error_catalog`` decides what the caller reads. Business outcomes (skipped, rate
limited, suppressed) are data in a response, never one of these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType

_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One wrong field of a request."""

    field: str
    """Dotted path from the request, such as ``notifications[3].channels[0]``."""
    description: str
    """What to change, as a sentence; never the value itself."""
    reason: str = ""
    """Stable id of the broken rule, such as ``string.max_len``."""


class ClarionError(Exception):
    """Something that the mesh knows how to answer.

    ``reason`` overrides the catalog's ErrorReason for this error: a value's name
    without the ``ERROR_REASON_`` prefix. A subclass may set it for all its instances.
    ``metadata`` travels in ErrorInfo and is public.
    """

    reason: str | None = None
    violations: tuple[FieldViolation, ...] = ()
    """The fields of the request that are at fault, where it is some."""

    def __init__(
        self,
        message: str = "",
        *,
        reason: str | None = None,
        metadata: Mapping[str, str] = _NOTHING,
    ) -> None:
        super().__init__(message or (type(self).__doc__ or "").partition("\n")[0])
        if reason is not None:
            self.reason = reason
        self.metadata = metadata

    @property
    def message(self) -> str:
        """The text given, or the first line of the class."""
        return str(self.args[0])


class InvalidArgumentError(ClarionError):
    """The request is invalid."""

    def __init__(
        self,
        message: str = "",
        *,
        violations: Sequence[FieldViolation] = (),
        reason: str | None = None,
        metadata: Mapping[str, str] = _NOTHING,
    ) -> None:
        if not message and violations:
            first = violations[0]
            more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
            message = f"{first.field}: {first.description}{more}"
        super().__init__(message, reason=reason, metadata=metadata)
        self.violations = tuple(violations)

    def below(self, field: str) -> InvalidArgumentError:
        """The same error for a caller who sees only that field of the request."""
        prefix = f"{field}."
        if not any(v.field.startswith(prefix) for v in self.violations):
            return self
        return type(self)(
            violations=[
                FieldViolation(v.field.removeprefix(prefix), v.description, v.reason)
                for v in self.violations
            ],
            reason=self.reason,
            metadata=self.metadata,
        )

    @classmethod
    def of(cls, field: str, description: str, reason: str = "") -> InvalidArgumentError:
        """An error about one field."""
        return cls(violations=[FieldViolation(field, description, reason)])


class InvalidPageTokenError(InvalidArgumentError):
    """The page token is not one that this list gave out."""


class TemplateInvalidError(InvalidArgumentError):
    """The template cannot be rendered with the given data."""


class UnauthenticatedError(ClarionError):
    """No caller is known here."""


class MissingCredentialError(UnauthenticatedError):
    """A credential is missing."""


class InvalidCredentialError(UnauthenticatedError):
    """The credential is unknown."""


class MissingTenantError(UnauthenticatedError):
    """The service credential came without a tenant."""


class PermissionDeniedError(ClarionError):
    """The caller may not do this."""


class MissingScopeError(PermissionDeniedError):
    """The caller's key lacks the scope."""


class InvalidSignatureError(PermissionDeniedError):
    """The signature does not match."""


class NotFoundError(ClarionError):
    """It does not exist."""

    @classmethod
    def of(cls, resource: str, id: str) -> NotFoundError:
        """An error about one thing: what it is and the id that was asked for."""
        return cls(
            f"there is no such {resource}", metadata={"resource": resource, "id": id}
        )


class ConflictError(ClarionError):
    """It exists already."""


class IdempotencyKeyReusedError(ConflictError):
    """The idempotency key was used before with another body."""

    def __init__(
        self,
        message: str = "",
        *,
        field: str = "idempotency_key",
        reason: str | None = None,
        metadata: Mapping[str, str] = _NOTHING,
    ) -> None:
        """``field`` of the request is the key."""
        super().__init__(message, reason=reason, metadata=metadata)
        self.violations = (
            FieldViolation(
                field, "was used before with another body", "idempotency_key.reused"
            ),
        )


class PreconditionError(ClarionError):
    """The present state does not allow this."""


class UnsupportedError(ClarionError):
    """This is part of the contract and not served yet."""


class RequestTooLargeError(ClarionError):
    """The request is larger than the limit."""


class TransientError(ClarionError):
    """The same call may work later.

    ``retry_after`` is how long to wait, where that is known. JetStream consumers hold
    their messages on this class and call again; they dead-letter nothing for it.
    """

    def __init__(
        self,
        message: str = "",
        *,
        retry_after: timedelta | None = None,
        reason: str | None = None,
        metadata: Mapping[str, str] = _NOTHING,
    ) -> None:
        super().__init__(message, reason=reason, metadata=metadata)
        self.retry_after = retry_after


class OverloadedError(TransientError):
    """Over a limit at the moment."""


class UnavailableError(TransientError):
    """A dependency does not answer."""


class DeadlineError(TransientError):
    """The caller's deadline passed before the work was done."""


class InternalError(ClarionError):
    """Clarion failed."""


class ConfigError(ClarionError):
    """The settings cannot be used."""

    def __init__(self, problems: Sequence[str] | str) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("; ".join(self.problems))
