"""Explanations as trees in a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.timestamp_pb2 import Timestamp
from rich.text import Text
from rich.tree import Tree

from clarion.api.router.v1.decision_pb2 import (
    ChannelDecision,
    RuleOutcome,
)
from clarion.api.router.v1.notification_pb2 import Notification
from clarion.api.router.v1.notification_service_pb2 import (
    ExplainNotificationResponse as DryRun,
)
from clarion.api.router.v1.notification_service_pb2 import RenderedContent
from clarion.api.tracking.v1.tracking_service_pb2 import (
    ChannelExplanation,
    ChannelVerdict,
    DeliveryExplanation,
)
from clarion.api.tracking.v1.tracking_service_pb2 import (
    ExplainNotificationResponse as Explanation,
)

_GOOD = frozenset(
    {"planned", "sent", "delivered", "opened", "clicked", "read", "spread"}
)
_WAITING = frozenset(
    {"scheduled", "deferred", "digested", "processing", "retrying", "unknown"}
)
_MARKS = {
    "pass": ("✓", "green"),
    "skip": ("✗", "red"),
    "fail": ("✗", "red"),
    "limit": ("✗", "red"),
    "defer": ("◷", "yellow"),
}
_LONGEST = 400


def of_sent(told: Explanation) -> Tree:
    """Why a notification was or was not sent."""
    tree = Tree(_line((told.notification_id, "bold"), ("  ", ""), _status(told.status)))
    tree.add(Text(told.summary))
    tree.add(
        _facts(
            ("type", told.type),
            ("category", told.category),
            ("to", told.user_id),
            ("lane", told.priority),
            ("accepted", _time(told.accepted_time, told.HasField("accepted_time"))),
            ("due", _time(told.due_time, told.HasField("due_time"))),
        )
    )
    for channel in told.channels:
        _add_channel(tree, channel)
    if told.timeline:
        branch = tree.add(Text("the notification as a whole", style="bold"))
        for entry in told.timeline:
            why = f"  {entry.reason}" if entry.reason else ""
            branch.add(Text(f"{_time(entry.time)}  {entry.event}{why}"))
    return tree


def of_dry_run(asked: Notification, told: DryRun) -> Tree:
    """What would happen now."""
    decision = told.decision
    tree = Tree(
        _line(
            (asked.type, "bold"),
            (f" to {asked.user_id}, if it were sent now", ""),
        )
    )
    tree.add(
        _facts(
            ("category", decision.category),
            ("lane", decision.priority),
            ("preferences", _version(decision.preferences_version)),
            ("defaults", _version(decision.default_preferences_version)),
        )
    )
    _add_rules(tree, [rule for rule in decision.rules if not rule.channel])
    contents = {content.channel: content for content in told.contents}
    for channel in decision.channels:
        branch = tree.add(_headline(channel.channel, channel.outcome, channel.reason))
        _add_decision(branch, channel)
        own = [rule for rule in decision.rules if rule.channel == channel.channel]
        _add_rules(branch, own)
        if channel.channel in contents:
            _add_content(branch, contents[channel.channel])
    return tree


def _add_channel(tree: Tree, channel: ChannelExplanation) -> None:
    branch = tree.add(_headline(channel.channel, channel.status, channel.reason))
    branch.add(Text(channel.summary, style="italic"))
    for verdict in channel.verdicts:
        _add_verdict(branch, verdict)
    for delivery in channel.deliveries:
        _add_delivery(branch, delivery)


def _add_verdict(tree: Tree, verdict: ChannelVerdict) -> None:
    defaults = verdict.default_preferences_version
    which = "decided" if not verdict.release else f"decided again ({verdict.release})"
    branch = tree.add(
        _line(
            (f"{_time(verdict.decided_time)}  {which}: ", ""),
            _status(verdict.decision.outcome),
            (f"  preferences {_version(verdict.preferences_version)}", "dim"),
            (f", defaults {_version(defaults)}" if defaults else "", "dim"),
        )
    )
    _add_decision(branch, verdict.decision)
    if verdict.rules:
        _add_rules(branch, verdict.rules)
    else:
        branch.add(_line(_MARKS["pass"], (" every rule was passed", "")))


def _add_decision(tree: Tree, decision: ChannelDecision) -> None:
    if decision.HasField("release_time"):
        tree.add(Text(f"until {_time(decision.release_time)}", style="yellow"))
    if decision.template_id:
        version = f" v{decision.template_version}" if decision.template_version else ""
        tree.add(Text(f"template {decision.template_id}{version}", style="dim"))


def _add_rules(tree: Tree, rules: Iterable[RuleOutcome]) -> None:
    for rule in rules:
        mark = _MARKS.get(rule.outcome, ("·", ""))
        tree.add(_line(mark, (f" {rule.rule}", ""), (f"  {rule.detail}", "dim")))


def _add_delivery(tree: Tree, one: DeliveryExplanation) -> None:
    delivery = one.delivery
    device = f" to device {one.device_id}" if one.device_id else ""
    branch = tree.add(
        _line(
            (f"delivery {delivery.delivery_id}{device}: ", ""),
            _status(delivery.status),
            (f"  {delivery.reason}" if delivery.reason else "", "dim"),
        )
    )
    for attempt in delivery.attempts:
        took = attempt.provider_latency.ToMilliseconds()
        words = (attempt.reason, attempt.provider_code, f"{took} ms" if took else "")
        branch.add(
            _line(
                (f"{_time(attempt.attempt_time)}  ", ""),
                (f"attempt {attempt.attempt} {attempt.provider}: ", ""),
                _status(attempt.outcome),
                ("".join(f"  {word}" for word in words if word), "dim"),
            )
        )
    for receipt in one.receipts:
        words = (receipt.provider, receipt.provider_status, receipt.reason)
        branch.add(
            _line(
                (f"{_time(receipt.time)}  ", ""),
                _status(receipt.event),
                ("".join(f"  {word}" for word in words if word), "dim"),
            )
        )
    for letter in one.dead_letters:
        again = ""
        if letter.HasField("redriven_time"):
            again = f", sent again {_time(letter.redriven_time)}"
        text = f"{_time(letter.time)}  dead letter: {letter.reason}{again}"
        branch.add(Text(text, style="red"))


def _add_content(tree: Tree, content: RenderedContent) -> None:
    language = f" in {content.locale}" if content.locale else ""
    branch = tree.add(Text(f"it would say{language}", style="bold"))
    if content.title:
        branch.add(Text(content.title, style="bold cyan"))
    if content.body:
        branch.add(Text(_short(content.body), style="cyan"))
    if content.html:
        branch.add(Text(f"and HTML of {len(content.html)} characters", style="dim"))


def _headline(channel: str, status: str, reason: str) -> Text:
    why = f"  {reason}" if reason else ""
    return _line((channel, "bold"), ("  ", ""), _status(status), (why, "dim"))


def _status(status: str) -> tuple[str, str]:
    if status in _GOOD:
        return status, "green"
    return status, "yellow" if status in _WAITING else "red"


def _facts(*pairs: tuple[str, str]) -> Text:
    return Text("  ".join(f"{name} {value}" for name, value in pairs if value), "dim")


def _line(*parts: tuple[str, str]) -> Text:
    return Text.assemble(*parts)


def _version(number: int) -> str:
    return f"v{number}" if number else "none"


def _time(time: Timestamp, is_set: bool = True) -> str:
    if not is_set:
        return ""
    return f"{time.ToDatetime().isoformat(timespec='milliseconds')}Z"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
