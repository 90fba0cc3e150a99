"""What each error of the mesh looks like to a caller: status, reason, public text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from grpc import StatusCode

from clarion.runtime import errors

DOMAIN = "clarion"
"""ErrorInfo.domain of every error."""


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """How one class of errors is answered."""

    code: StatusCode
    reason: str
    """An ErrorReason without its prefix."""
    public: str | None = None
    """The text for the caller; None where the error's own message is public."""


CATALOG: Mapping[type[errors.ClarionError], CatalogEntry] = {
    errors.InvalidArgumentError: CatalogEntry(
        StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"
    ),
    errors.InvalidPageTokenError: CatalogEntry(
        StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN"
    ),
    errors.TemplateInvalidError: CatalogEntry(
        StatusCode.INVALID_ARGUMENT, "TEMPLATE_INVALID"
    ),
    errors.UnauthenticatedError: CatalogEntry(
        StatusCode.UNAUTHENTICATED, "INVALID_CREDENTIAL"
    ),
    errors.MissingCredentialError: CatalogEntry(
        StatusCode.UNAUTHENTICATED, "MISSING_CREDENTIAL"
    ),
    errors.InvalidCredentialError: CatalogEntry(
        StatusCode.UNAUTHENTICATED, "INVALID_CREDENTIAL"
    ),
    errors.MissingTenantError: CatalogEntry(
        StatusCode.UNAUTHENTICATED, "MISSING_TENANT"
    ),
    errors.PermissionDeniedError: CatalogEntry(
        StatusCode.PERMISSION_DENIED, "MISSING_SCOPE"
    ),
    errors.MissingScopeError: CatalogEntry(
        StatusCode.PERMISSION_DENIED, "MISSING_SCOPE"
    ),
    errors.InvalidSignatureError: CatalogEntry(
        StatusCode.PERMISSION_DENIED, "INVALID_SIGNATURE"
    ),
    errors.NotFoundError: CatalogEntry(StatusCode.NOT_FOUND, "NOT_FOUND"),
    errors.ConflictError: CatalogEntry(StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS"),
    errors.IdempotencyKeyReusedError: CatalogEntry(
        StatusCode.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED"
    ),
    errors.PreconditionError: CatalogEntry(
        StatusCode.FAILED_PRECONDITION, "PRECONDITION_FAILED"
    ),
    errors.UnsupportedError: CatalogEntry(StatusCode.UNIMPLEMENTED, "NOT_IMPLEMENTED"),
    errors.RequestTooLargeError: CatalogEntry(
        StatusCode.RESOURCE_EXHAUSTED, "REQUEST_TOO_LARGE"
    ),
    errors.TransientError: CatalogEntry(
        StatusCode.UNAVAILABLE,
        "DEPENDENCY_UNAVAILABLE",
        "A part of Clarion does not answer at the moment. Repeating the call is safe.",
    ),
    errors.OverloadedError: CatalogEntry(StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED"),
    errors.UnavailableError: CatalogEntry(
        StatusCode.UNAVAILABLE,
        "DEPENDENCY_UNAVAILABLE",
        "A part of Clarion does not answer at the moment. Repeating the call is safe.",
    ),
    errors.DeadlineError: CatalogEntry(
        StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"
    ),
    errors.InternalError: CatalogEntry(
        StatusCode.INTERNAL,
        "INTERNAL",
        "Clarion failed. The log has the details under the trace id of this call.",
    ),
}

INTERNAL = CATALOG[errors.InternalError]

PRODUCED_ELSEWHERE: Mapping[str, str] = {
    "UNSPECIFIED": "never sent",
}
"""ErrorReasons without a class here, and where they come from."""


def entry_for(error: BaseException) -> CatalogEntry:
    """The entry of the nearest class in the catalog; INTERNAL for anything unknown."""
    for cls in type(error).__mro__:
        found = CATALOG.get(cls)
        if found is not None:
            return found
    return INTERNAL


_BY_REASON = {entry.reason: cls for cls, entry in reversed(tuple(CATALOG.items()))}
_BY_CODE: Mapping[StatusCode, type[errors.ClarionError]] = {
    StatusCode.INVALID_ARGUMENT: errors.InvalidArgumentError,
    StatusCode.OUT_OF_RANGE: errors.InvalidArgumentError,
    StatusCode.NOT_FOUND: errors.NotFoundError,
    StatusCode.ALREADY_EXISTS: errors.ConflictError,
    StatusCode.FAILED_PRECONDITION: errors.PreconditionError,
    StatusCode.RESOURCE_EXHAUSTED: errors.OverloadedError,
    StatusCode.DEADLINE_EXCEEDED: errors.DeadlineError,
    StatusCode.UNAVAILABLE: errors.UnavailableError,
    StatusCode.ABORTED: errors.UnavailableError,
    # A neighbour that stops cancels what its drain limit did not let finish.
    StatusCode.CANCELLED: errors.UnavailableError,
    # The three below mean that the mesh is set up wrongly or in the middle of a
    # release. Work is held until somebody mends it, not thrown away.
    StatusCode.UNIMPLEMENTED: errors.UnavailableError,
    StatusCode.UNAUTHENTICATED: errors.UnavailableError,
    StatusCode.PERMISSION_DENIED: errors.UnavailableError,
}


def class_for(code: StatusCode, reason: str | None) -> type[errors.ClarionError]:
    """The error that a neighbour's status means to the one who called it.

    The reason picks the subclass, as long as it agrees with what the code says.
    """
    by_code = _BY_CODE.get(code, errors.InternalError)
    by_reason = _BY_REASON.get(reason or "")
    if by_reason is None or by_code is errors.UnavailableError:
        return by_code
    if by_reason is errors.RequestTooLargeError:
        return by_reason
    return by_reason if issubclass(by_reason, by_code) else by_code
