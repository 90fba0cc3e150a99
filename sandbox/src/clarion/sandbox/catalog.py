"""The providers' error codes and receipt states, as their documents list them.

Each provider's table maps its code to (HTTP status, message). Sources: FCM "ErrorCode"
(firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode), Apple "Handling notification
responses from APNs", Twilio "Error and Warning Dictionary", SendGrid "Event Webhook".
"""

from __future__ import annotations

FCM: dict[str, tuple[int, str]] = {
    "UNREGISTERED": (404, "Requested entity was not found."),
    "INVALID_ARGUMENT": (
        400,
        "The registration token is not a valid FCM registration token",
    ),
    "SENDER_ID_MISMATCH": (403, "SenderId mismatch"),
    "QUOTA_EXCEEDED": (429, "Resource has been exhausted (e.g. check quota)."),
    "UNAVAILABLE": (503, "The service is currently unavailable."),
    "INTERNAL": (500, "Internal error encountered."),
    "THIRD_PARTY_AUTH_ERROR": (401, "Auth error from APNS or Web Push Service"),
}

RPC_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}
"""google.rpc.Code names as Google's front end maps them to HTTP."""

_APNS = {
    400: "BadCollapseId BadDeviceToken BadExpirationDate BadMessageId BadPriority "
    "BadTopic DeviceTokenNotForTopic DuplicateHeaders IdleTimeout InvalidPushType "
    "MissingDeviceToken MissingTopic PayloadEmpty TopicDisallowed",
    403: "BadCertificate BadCertificateEnvironment ExpiredProviderToken Forbidden "
    "InvalidProviderToken MissingProviderToken UnrelatedKeyIdInToken "
    "BadEnvironmentKeyIdInToken",
    404: "BadPath",
    405: "MethodNotAllowed",
    410: "Unregistered ExpiredToken",
    413: "PayloadTooLarge",
    429: "TooManyRequests TooManyProviderTokenUpdates",
    500: "InternalServerError",
    503: "ServiceUnavailable Shutdown",
}
APNS: dict[str, tuple[int, str]] = {
    reason: (status, reason)
    for status, reasons in _APNS.items()
    for reason in reasons.split()
}
APNS_DEFAULT = {
    status: reasons.split()[0] for status, reasons in _APNS.items() if status != 400
} | {400: "BadDeviceToken", 403: "InvalidProviderToken"}

TWILIO: dict[str, tuple[int, str]] = {
    "20003": (401, "Authenticate"),
    "20004": (405, "Method not allowed"),
    "20404": (404, "The requested resource was not found"),
    "20429": (429, "Too Many Requests"),
    "20500": (500, "An internal server error has occurred"),
    "20503": (503, "Service is not available. Please try again later."),
    "21211": (400, "Invalid 'To' Phone Number"),
    "21212": (400, "Invalid 'From' Phone Number"),
    "21266": (400, "'To' and 'From' numbers cannot be the same."),
    "21408": (
        400,
        "Permission to send an SMS has not been enabled for the region indicated by "
        "the 'To' number",
    ),
    "21602": (400, "Message body is required."),
    "21603": (400, "A 'From' phone number is required."),
    "21604": (400, "A 'To' phone number is required."),
    "21606": (
        400,
        "The 'From' phone number provided is not a valid message-capable Twilio "
        "phone number for this destination.",
    ),
    "21608": (400, "The number is unverified. Trial accounts cannot send to it."),
    "21609": (400, "The StatusCallback URL is not a valid URL"),
    "21610": (400, "Attempt to send to unsubscribed recipient"),
    "21611": (
        429,
        "This 'From' number has exceeded the maximum number of queued messages",
    ),
    "21612": (
        400,
        "The 'To' phone number is not currently reachable using the 'From' phone "
        "number via SMS",
    ),
    "21614": (400, "'To' number is not a valid mobile number"),
    "21617": (400, "The concatenated message body exceeds the 1600 character limit"),
}
TWILIO_DEFAULT = {
    400: "21211",
    401: "20003",
    404: "20404",
    405: "20004",
    429: "20429",
    500: "20500",
    503: "20503",
}

CODES: dict[str, dict[str, tuple[int, str]]] = {
    "fcm": FCM,
    "apns": APNS,
    "twilio": TWILIO,
}

RECEIPTS: dict[str, tuple[str, ...]] = {
    "twilio": (
        *("queued", "sending", "sent", "delivered"),
        *("undelivered", "failed", "read"),
    ),
    "sendgrid": (
        *("processed", "deferred", "delivered", "bounce", "blocked", "dropped"),
        *("open", "click", "spamreport", "unsubscribe"),
        *("group_unsubscribe", "group_resubscribe"),
    ),
}
