"""Who calls: API key to caller, scope and tenant checked before anything is done."""

from __future__ import annotations

from typing import Any

from clarion.runtime.caller import (
    INTERNAL_SCOPE,
    TENANT_METADATA,
    Caller,
    enter_call,
    is_tenant,
)
from clarion.runtime.credentials import ApiKeys
from clarion.runtime.errors import (
    MissingCredentialError,
    MissingScopeError,
    MissingTenantError,
)
from clarion.runtime.interceptors.rpc import Proceed, Rpc
from clarion.runtime.methods import Method

AUTHORIZATION_METADATA = "authorization"
_SCHEME = "bearer "


class AuthenticationInterceptor:
    """Sets the caller, or refuses. A method with scope ``public`` has no caller."""

    def __init__(self, keys: ApiKeys) -> None:
        self._keys = keys

    def bind(self, method: Method, proceed: Proceed) -> Proceed:
        if method.is_public:
            return proceed

        async def authenticated(rpc: Rpc, request: Any) -> Any:
            caller = self._caller(rpc)
            if not caller.may(method.scope):
                raise MissingScopeError(
                    f'the API key lacks the scope "{method.scope}"',
                    metadata={"scope": method.scope},
                )
            enter_call(caller)
            return await proceed(rpc, request)

        return authenticated

    def _caller(self, rpc: Rpc) -> Caller:
        header = rpc.text(AUTHORIZATION_METADATA)
        if not header:
            raise MissingCredentialError(
                "no credential: send the API key as `authorization: Bearer <key>`"
            )
        if header[: len(_SCHEME)].lower() != _SCHEME:
            raise MissingCredentialError(
                "the credential is not a bearer token: "
                "send the API key as `authorization: Bearer <key>`"
            )
        credential = self._keys.find(header[len(_SCHEME) :].strip())
        asked = rpc.text(TENANT_METADATA)
        if not credential.is_service:
            if asked and asked != credential.tenant:
                raise MissingScopeError(
                    f"`{TENANT_METADATA}` names another tenant: only services may",
                    metadata={"scope": INTERNAL_SCOPE},
                )
            return Caller(credential.tenant, credential.id, credential.scopes)
        if not is_tenant(asked):
            raise MissingTenantError(
                f"a service credential needs a tenant: send `{TENANT_METADATA}` "
                "matching ^[a-z0-9][a-z0-9_-]{0,62}$"
            )
        return Caller(asked, credential.id, credential.scopes)
