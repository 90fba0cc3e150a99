"""The rules that the contract states, enforced before the servicer sees a request."""

from __future__ import annotations

from typing import Any

from clarion.runtime.interceptors.rpc import Proceed, Rpc
from clarion.runtime.methods import Method
from clarion.runtime.validation import check


class ValidationInterceptor:
    """Raises InvalidArgumentError naming every field that breaks a rule."""

    def bind(self, method: Method, proceed: Proceed) -> Proceed:
        async def validated(rpc: Rpc, request: Any) -> Any:
            check(request)
            return await proceed(rpc, request)

        return validated
