"""The rules that the contract states, enforced before the servicer sees a request."""

from __future__ import annotations

from typing import Any

from clarion.runtime.errors import InvalidArgumentError
from clarion.runtime.interceptors.rpc import Proceed, Rpc, Undecodable
from clarion.runtime.methods import Method
from clarion.runtime.validation import check


class ValidationInterceptor:
    """Raises InvalidArgumentError naming every field that breaks a rule."""

    def bind(self, method: Method, proceed: Proceed) -> Proceed:
        async def validated(rpc: Rpc, request: Any) -> Any:
            if isinstance(request, Undecodable):
                raise InvalidArgumentError(
                    f"the request is not an encoded message of {method.path}: "
                    "generate the client from the same contracts"
                )
            check(request)
            return await proceed(rpc, request)

        return validated
