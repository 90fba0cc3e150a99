"""RecipientService."""

from __future__ import annotations

from typing import Any, cast

from clarion.api.recipients.v1.recipient_service_pb2 import (
    BatchGetRecipientsRequest,
    BatchGetRecipientsResponse,
    BatchPutRecipientsRequest,
    BatchPutRecipientsResponse,
    BatchRemoveTokensRequest,
    BatchRemoveTokensResponse,
    DeleteRecipientRequest,
    DeleteRecipientResponse,
    GetRecipientRequest,
    GetRecipientResponse,
    PutRecipientRequest,
    PutRecipientResponse,
    RegisterDeviceRequest,
    RegisterDeviceResponse,
    RemoveDeviceRequest,
    RemoveDeviceResponse,
)
from clarion.api.recipients.v1.recipient_service_pb2_grpc import (
    RecipientServiceServicer,
)
from clarion.recipients.people import People
from clarion.recipients.person import last_of_each, normalise, normalise_device
from clarion.recipients.profiles import Profiles
from clarion.runtime.caller import current_caller
from clarion.runtime.errors import FieldViolation, InvalidArgumentError, NotFoundError


class RecipientServicer(RecipientServiceServicer):
    """The people of the caller's tenant."""

    def __init__(self, people: People, profiles: Profiles) -> None:
        self._people = people
        self._profiles = profiles

    async def PutRecipient(
        self, request: PutRecipientRequest, context: Any
    ) -> PutRecipientResponse:
        tenant, person = current_caller().tenant, request.recipient
        found = normalise(person, "recipient")
        if person.user_id and person.user_id != request.user_id:
            text = "is another person than user_id: leave it out"
            found.append(FieldViolation("recipient.user_id", text, "user_id.same"))
        if found:
            raise InvalidArgumentError(violations=found)
        person.user_id = request.user_id
        await self._people.put(tenant, [person])
        stored = await self._profiles.get_one(tenant, request.user_id)
        return PutRecipientResponse(recipient=stored.recipient)

    async def BatchPutRecipients(
        self, request: BatchPutRecipientsRequest, context: Any
    ) -> BatchPutRecipientsResponse:
        found: list[FieldViolation] = []
        for place, person in enumerate(request.recipients):
            path = f"recipients[{place}]"
            if not person.user_id:
                text = "is missing: give a value"
                found.append(FieldViolation(f"{path}.user_id", text, "required"))
            found += normalise(person, path)
        if found:
            raise InvalidArgumentError(violations=found)
        people = last_of_each(request.recipients)
        await self._people.put(current_caller().tenant, people)
        return BatchPutRecipientsResponse(stored=len(people))

    async def GetRecipient(
        self, request: GetRecipientRequest, context: Any
    ) -> GetRecipientResponse:
        tenant = current_caller().tenant
        profile = await self._profiles.get_one(tenant, request.user_id)
        if not profile.found:
            raise NotFoundError.of("recipient", request.user_id)
        return GetRecipientResponse(recipient=profile.recipient)

    async def DeleteRecipient(
        self, request: DeleteRecipientRequest, context: Any
    ) -> DeleteRecipientResponse:
        tenant = current_caller().tenant
        deleted = await self._people.delete(tenant, request.user_id)
        return DeleteRecipientResponse(deleted=deleted)

    async def RegisterDevice(
        self, request: RegisterDeviceRequest, context: Any
    ) -> RegisterDeviceResponse:
        device = request.device
        found = normalise_device(device, "device")
        if found:
            raise InvalidArgumentError(violations=found)
        tenant = current_caller().tenant
        if not await self._people.register(tenant, request.user_id, device):
            raise NotFoundError.of("recipient", request.user_id)
        return RegisterDeviceResponse(device=device)

    async def RemoveDevice(
        self, request: RemoveDeviceRequest, context: Any
    ) -> RemoveDeviceResponse:
        removed = await self._people.remove_device(
            current_caller().tenant, request.user_id, request.device_id
        )
        return RemoveDeviceResponse(removed=removed)

    async def BatchGetRecipients(
        self, request: BatchGetRecipientsRequest, context: Any
    ) -> BatchGetRecipientsResponse:
        tenant = current_caller().tenant
        answer = await self._profiles.get(tenant, request.user_ids)
        # What is encoded already passes as it is.
        return cast(BatchGetRecipientsResponse, answer)

    async def BatchRemoveTokens(
        self, request: BatchRemoveTokensRequest, context: Any
    ) -> BatchRemoveTokensResponse:
        tenant = current_caller().tenant
        removed = await self._people.remove_tokens(tenant, request.tokens)
        return BatchRemoveTokensResponse(removed=removed)
