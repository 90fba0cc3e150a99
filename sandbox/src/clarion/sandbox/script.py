"""The script: rules that say how the providers behave, per recipient or for everybody.

A rule is {"match": {...}, "times": n, "action": {...}}; the first that matches wins. A
bad rule raises ScriptError, which names the field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from clarion.sandbox import catalog

PROVIDERS = {"fcm": "push", "apns": "push", "twilio": "sms"} | dict.fromkeys(
    ("sendgrid", "smtp"), "email"
)
OAUTH = "oauth"
"""Provider name of FCM's token endpoint; its recipient is the account's address."""

_MATCH_FIELDS = {"provider", "channel", "recipient"}
_RULE_FIELDS = {"match", "times", "action"}
_ACTION_FIELDS = {
    *("status", "body", "code", "retry_after", "delay_ms", "hang_up", "stage"),
    *("unregistered", "receipts", "silent"),
}
_RECEIPT_FIELDS = {"status", "after_ms", "error_code", "reason"}
_LONGEST_MS = 86_400_000
_SMTP_CODE = re.compile(r"[245]\d\d( [245]\.\d{1,3}\.\d{1,3})?")


class ScriptError(ValueError):
    """A rule cannot be understood; `field` is the path to what is wrong in it."""

    def __init__(self, field_path: str, problem: str) -> None:
        super().__init__(f"{field_path}: {problem}")
        self.field = field_path
        self.problem = problem


@dataclass(frozen=True, slots=True)
class ScriptedReceipt:
    """A receipt that follows an accepted message."""

    status: str
    after_seconds: float
    error_code: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Action:
    """What happens to a message that a rule matches; README.md has the meanings."""

    status: int | None = None
    body: object = None
    code: str | None = None
    retry_after: float | None = None
    delay_seconds: float = 0.0
    hang_up: Literal["before", "after"] | None = None
    stage: Literal["rcpt", "data"] = "rcpt"
    unregistered: bool = False
    receipts: tuple[ScriptedReceipt, ...] | None = None
    silent: bool = False


@dataclass(slots=True)
class Rule:
    """One rule with the number of messages it applied to."""

    source: Mapping[str, Any]
    provider: str
    channel: str
    recipient: str
    action: Action
    times: int | None
    applied: int = 0

    def fits(self, provider: str, channel: str, recipient: str) -> bool:
        if self.times is not None and self.applied >= self.times:
            return False
        if self.provider and self.provider != provider:
            return False
        # The token endpoint takes part only when a rule names it.
        if (provider == OAUTH and not self.provider) or (
            self.channel and self.channel != channel
        ):
            return False
        if self.recipient.endswith("*"):
            return recipient.startswith(self.recipient[:-1])
        return not self.recipient or self.recipient == recipient


@dataclass(slots=True)
class Script:
    """The rules in force."""

    rules: list[Rule] = field(default_factory=list)
    _exact: dict[str, list[int]] = field(default_factory=dict)
    _general: list[int] = field(default_factory=list)

    def replace(self, document: object) -> None:
        """Put the rules of a JSON document in force, all or none of them.

        Raises ScriptError and leaves the old rules when one of them is bad.
        """
        rules = parse_rules(document)
        self.rules = rules
        self._exact = {}
        self._general = []
        # Thousands of rules for one recipient each must not cost a scan per message.
        for index, rule in enumerate(rules):
            if rule.recipient and not rule.recipient.endswith("*"):
                self._exact.setdefault(rule.recipient, []).append(index)
            else:
                self._general.append(index)

    def action_for(
        self, provider: str, channel: str, recipient: str, *, peek: bool = False
    ) -> Action | None:
        """Action of the first rule that fits; counts as applied unless it is a peek."""
        if not self.rules:
            return None
        candidates: Sequence[int] = self._general
        exact = self._exact.get(recipient)
        if exact:
            candidates = sorted([*exact, *self._general])
        for index in candidates:
            rule = self.rules[index]
            if rule.fits(provider, channel, recipient):
                rule.applied += 0 if peek else 1
                return rule.action
        return None

    def as_json(self) -> list[dict[str, Any]]:
        return [{**rule.source, "applied": rule.applied} for rule in self.rules]


def parse_rules(document: object) -> list[Rule]:
    """Rules from a JSON list, or from {"rules": [...]}; raises ScriptError."""
    if isinstance(document, Mapping):
        _known(document, {"rules"}, "")
        document = document.get("rules")
    if not isinstance(document, list):
        raise ScriptError("rules", "must be a list of rules")
    return [_rule(item, f"rules[{index}]") for index, item in enumerate(document)]


def _rule(document: object, path: str) -> Rule:
    rule = _object(document, path)
    _known(rule, _RULE_FIELDS, path)
    match = _object(rule.get("match", {}), f"{path}.match")
    _known(match, _MATCH_FIELDS, f"{path}.match")
    provider = _text(match, "provider", f"{path}.match")
    if provider and provider not in {*PROVIDERS, OAUTH}:
        names = ", ".join([*PROVIDERS, OAUTH])
        raise ScriptError(f"{path}.match.provider", f"must be one of {names}")
    channel = _text(match, "channel", f"{path}.match")
    if channel and channel not in PROVIDERS.values():
        raise ScriptError(f"{path}.match.channel", "must be push, email or sms")
    if provider in PROVIDERS and channel not in ("", PROVIDERS[provider]):
        raise ScriptError(
            f"{path}.match.channel", f"{provider} serves {PROVIDERS[provider]} only"
        )
    recipient = _text(match, "recipient", f"{path}.match")
    if "*" in recipient[:-1]:
        raise ScriptError(f"{path}.match.recipient", "* may only stand at the end")
    times = _number(rule, "times", path, lowest=1, whole=True)
    if "action" not in rule:
        raise ScriptError(f"{path}.action", "is missing")
    candidates = {
        name
        for name, serves in PROVIDERS.items()
        if provider in ("", name) and channel in ("", serves)
    }
    action = _action(rule["action"], f"{path}.action", candidates)
    count = None if times is None else int(times)
    return Rule(rule, provider, channel, recipient, action, count)


def _action(document: object, path: str, providers: set[str]) -> Action:
    action = _object(document, path)
    _known(action, _ACTION_FIELDS, path)
    status = _number(action, "status", path, lowest=200, highest=599, whole=True)
    body = action.get("body")
    if body is not None and not isinstance(body, str | dict | list):
        raise ScriptError(f"{path}.body", "must be an object, a list or a string")
    receipts: tuple[ScriptedReceipt, ...] | None = None
    if "receipts" in action:
        if not isinstance(action["receipts"], list):
            raise ScriptError(f"{path}.receipts", "must be a list")
        receipts = tuple(
            parse_receipt(item, f"{path}.receipts[{index}]", providers)
            for index, item in enumerate(action["receipts"])
        )
    silent = _flag(action, "silent", path)
    if silent and receipts:
        raise ScriptError(f"{path}.silent", "contradicts receipts")
    if "retry_after" in action and not {"status", "code"} & set(action):
        raise ScriptError(f"{path}.retry_after", "needs a status or a code beside it")
    delay = _number(action, "delay_ms", path, lowest=0, highest=_LONGEST_MS)
    return Action(
        status=None if status is None else int(status),
        body=body,
        code=_code(action, path, providers),
        retry_after=_number(action, "retry_after", path, lowest=0, highest=86_400),
        delay_seconds=(delay or 0) / 1000,
        hang_up=cast(Any, _choice(action, "hang_up", path, ("before", "after"))),
        stage=cast(Any, _choice(action, "stage", path, ("rcpt", "data")) or "rcpt"),
        unregistered=_flag(action, "unregistered", path),
        receipts=receipts,
        silent=silent,
    )


def parse_receipt(document: object, path: str, providers: set[str]) -> ScriptedReceipt:
    receipt = _object(document, path)
    _known(receipt, _RECEIPT_FIELDS, path)
    status = _text(receipt, "status", path)
    names = [n for p in sorted(providers) for n in catalog.RECEIPTS.get(p, ())]
    if not names:
        raise ScriptError(path, "only twilio and sendgrid send receipts")
    if status not in names:
        raise ScriptError(f"{path}.status", f"must be one of {', '.join(names)}")
    after = _number(receipt, "after_ms", path, lowest=0, highest=_LONGEST_MS)
    return ScriptedReceipt(
        status,
        (after or 0) / 1000,
        str(_scalar(receipt, "error_code", path)),
        _text(receipt, "reason", path),
    )


def _code(action: Mapping[str, Any], path: str, providers: set[str]) -> str | None:
    if "code" not in action:
        return None
    code = str(_scalar(action, "code", path))
    if not providers:
        raise ScriptError(f"{path}.code", "oauth has no codes; use action.status")
    # A code belongs to one provider, so the match must leave no other one possible.
    for provider in sorted(providers):
        if provider == "smtp":
            fine = _SMTP_CODE.fullmatch(code) is not None
        else:
            fine = code in catalog.CODES.get(provider, {})
        if not fine:
            raise ScriptError(
                f"{path}.code",
                f"{code!r} is no error code of {provider}; name match.provider, "
                "or use action.status",
            )
    return code


def _object(value: object, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ScriptError(path, "must be an object")
    return value


def _known(value: Mapping[str, Any], names: set[str], path: str) -> None:
    for name in value:
        if name not in names:
            where = f"{path}.{name}" if path else name
            raise ScriptError(where, f"unknown; known are {', '.join(sorted(names))}")


def _text(value: Mapping[str, Any], name: str, path: str) -> str:
    text = value.get(name, "")
    if not isinstance(text, str):
        raise ScriptError(f"{path}.{name}", "must be a string")
    return text


def _scalar(value: Mapping[str, Any], name: str, path: str) -> str | int:
    scalar = value.get(name, "")
    if isinstance(scalar, bool) or not isinstance(scalar, str | int):
        raise ScriptError(f"{path}.{name}", "must be a string or a whole number")
    return scalar


def _flag(value: Mapping[str, Any], name: str, path: str) -> bool:
    flag = value.get(name, False)
    if not isinstance(flag, bool):
        raise ScriptError(f"{path}.{name}", "must be true or false")
    return flag


def _choice(
    value: Mapping[str, Any], name: str, path: str, choices: tuple[str, ...]
) -> str | None:
    if name not in value:
        return None
    if value[name] not in choices:
        raise ScriptError(f"{path}.{name}", f"must be one of {', '.join(choices)}")
    return str(value[name])


def _number(
    value: Mapping[str, Any],
    name: str,
    path: str,
    *,
    lowest: float,
    highest: float = float("inf"),
    whole: bool = False,
) -> float | None:
    if name not in value:
        return None
    number = value[name]
    kinds = int if whole else int | float
    if isinstance(number, bool) or not isinstance(number, kinds):
        kind = "a whole number" if whole else "a number"
        raise ScriptError(f"{path}.{name}", f"must be {kind}")
    if not lowest <= number <= highest:
        raise ScriptError(
            f"{path}.{name}",
            f"must be at least {lowest:g}"
            + (f" and at most {highest:g}" if highest != float("inf") else ""),
        )
    return float(number)
