"""What a person sees of a run: rows for the chart and a summary, derived from the fold.

Times are seconds since the run started. Nothing here holds a user's value: no inputs, no results, no
error messages, no prints; those are asked for one task at a time (`details`) and are never stored in a notebook.
The exceptions are two, `Row.doing` and `Row.said`: for the live view only, and taken out of what is saved.
"""

import re
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from cerebelum_nb.model.attempts import PastAttempt
from cerebelum_nb.model.critical import Outlook
from cerebelum_nb.model.events import PROCESSES, Group
from cerebelum_nb.model.state import PHASES, RUNNING, SUBMITTED, SUCCEEDED, RunState

_LIVE = re.compile(b"[%c%c]" % (SUBMITTED, RUNNING))
_SAID: Final = 160  # characters of a line of output beside a bar
_UNSEEN: Final = re.compile("\x1b\\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")  # colours, bells


class Segment(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One attempt as drawn: a bar, or a growing one while ``end`` is None.

    It is in a queue until ``start - send``, on its way until ``start``, and its result is from ``end - fetch`` on.
    """

    attempt: int
    where: str  # local, distributed, a pool's name
    remote: bool
    queued: float  # handed over; equal to `start` where nothing was queued
    start: float | None  # when its code began; None: still queued
    end: float | None
    outcome: str  # running, ok, error, timeout, cancelled, lost
    send: float = 0.0  # seconds
    fetch: float = 0.0  # seconds


class Row(msgspec.Struct, frozen=True, gc=False):
    """One task as drawn."""

    id: int
    step: str
    # waiting ready submitted running sleeping approval succeeded failed skipped cancelled reused cached undone
    status: str
    where: str
    remote: bool
    attempt: int
    worker: str
    reason: str  # which rule placed it, as a sentence
    note: str  # why it was skipped or reused, which way a decision took; empty otherwise
    needs: tuple[int, ...]  # of what undoes: what it undoes, too
    segments: tuple[Segment, ...]
    prints: int  # how many pieces of output there were: a change means there is more to ask for
    ms: float | None  # how long the last attempt ran; None before it ended
    kind: Literal["step", "decision", "undo"] = "step"
    group: str = ""  # the nested workflow it belongs to: "outer/inner"
    progress: float | None = None  # 0 to 1, as the step says
    doing: str = ""  # what the step says it does, or what it waits for
    until: float | None = None  # paused: when it goes on by itself, or gives up
    cache: str = ""  # whether its result came from the cache, or why not
    since: float | None = None  # paused: from when on
    said: str = ""  # the last line that it printed, while it runs


class Header(msgspec.Struct, frozen=True):
    """The run as a whole."""

    run: str
    number: int  # counted in the session, for people
    workflow: str
    status: str  # running succeeded failed cancelled compensated compensation_failed
    started_at: float  # UTC seconds
    now: float  # seconds since the start, when this was made; the end, once ended
    done: int  # steps that succeeded
    total: int  # steps that were asked for, and not passed by
    local_ms: float  # all attempts so far, together
    remote_ms: float
    reused_from: int  # number of the run whose results are reused; 0 for none
    groups: tuple[Group, ...] = ()  # nested workflows, outer before inner
    note: str = ""  # what else people must know: that it is undone and why, that it is held up
    counts: tuple[tuple[str, int], ...] = ()  # steps by status, without those that no step has
    retries: int = 0
    critical: tuple[int, ...] = ()  # tasks of the critical path so far, from first to last
    slack: tuple[float | None, ...] = ()  # by task; empty where it is not told: see `critical.Outlook`
    finish: float | None = None  # when it will end, where that can be known
    finish_from: str = ""  # what that is known from, as words
    cost: float = 0.0  # of the attempts so far, by what a slot of their pools costs; 0 where none has a price


class Details(msgspec.Struct, frozen=True):
    """What one task printed and how it failed. Holds user data: sent on request, never saved."""

    step: str
    output: tuple[tuple[str, str], ...]  # (stream, text)
    error_type: str
    error: str
    traceback: str


def duration_s(state: RunState, task: int) -> float:
    """Seconds the last attempt of a task ran: measured where it ran, else between its events."""
    if state.run_s[task]:
        return state.run_s[task]
    begun = state.started[task] or state.submitted[task]
    return max(0.0, state.ended[task] - begun) if begun and state.ended[task] else 0.0


def row_status(state: RunState, task: int) -> str:
    """How a task stands, in the word that people see."""
    status, looked, pause = PHASES[state.phase[task]], state.looked_up.get(task), state.paused.get(task)
    if pause is not None:
        return "approval" if pause.kind == "approval" else "sleeping"
    if task in state.undone:
        return "undone"
    if status == "succeeded" and looked is not None and looked[0]:
        return "cached"
    if status == "succeeded" and task in state.reused:
        return "reused"
    return "running" if status == "ended" else status  # the blink between an attempt's end and its task's


def row(state: RunState, task: int) -> Row:
    """One task as drawn."""
    place, phase = state.places[task], state.phase[task]
    looked = state.looked_up.get(task)
    ended, pause = bool(state.ended[task]), state.paused.get(task)
    told = state.progress.get(task)
    return Row(
        id=task,
        step=state.names[task],
        status=row_status(state, task),
        where=place.label,
        remote=place.remote,
        attempt=state.attempt[task],
        worker=state.workers.get(task, ""),
        reason=place.reason,
        note=state.reasons.get(task, ""),
        needs=(*state.needs[task], state.undo[task]) if task in state.undo else state.needs[task],
        segments=_segments(state, task),
        prints=state.prints.get(task, 0),
        ms=duration_s(state, task) * 1e3 if ended else None,
        kind="decision" if task in state.decisions else "undo" if task in state.undo else "step",
        group=_group_of(state, task),
        progress=None if told is None else told[0],
        doing=pause.text if pause is not None else "" if told is None else told[1],
        until=pause.until - state.started_at if pause is not None and pause.until else None,
        cache="" if looked is None else looked[1],
        since=pause.since - state.started_at if pause is not None else None,
        said=_last_line(state, task) if phase == RUNNING and task in state.output else "",
    )


def _last_line(state: RunState, task: int) -> str:
    """What stands at the end of its output, in one line; a progress bar's line as it is after its last return."""
    for _, text in reversed(state.output[task]):
        for line in reversed(text.replace("\r\n", "\n").split("\n")):
            clean = " ".join(_UNSEEN.sub("", line.rstrip("\r").rpartition("\r")[2]).split())
            if clean:
                return clean if len(clean) <= _SAID else f"{clean[: _SAID - 1]}…"
    return ""


def _group_of(state: RunState, task: int) -> str:
    inside = [group.name for group in state.groups if group.first <= task < group.stop]
    return inside[-1] if inside else ""


def _segments(state: RunState, task: int) -> tuple[Segment, ...]:
    zero = state.started_at
    done = [_segment(zero, p, p.outcome) for p in state.past.get(task, ()) if p.started or p.waited]
    if state.started[task] or state.submitted[task]:
        place, outcome = state.places[task], state.outcome_of(task)
        now = PastAttempt(
            state.attempt[task],
            place.label,
            place.remote,
            state.started[task],
            state.ended[task],
            outcome,
            state.submitted[task],
            state.run_s[task],
            state.transfer_s.get(task),
        )
        done.append(_segment(zero, now, outcome if now.ended else "running"))
    return tuple(done)


def _segment(zero: float, tried: PastAttempt, outcome: str) -> Segment:
    queued, ended = tried.waited or tried.started, tried.ended
    start: float | None = tried.started or None
    send = fetch = 0.0
    if ended and tried.run_s:
        # "started" may travel with "finished": durations that were measured where they passed say more. They are set
        # between our own two times from the end on, and cut where a clock was set meanwhile.
        there, back = tried.transfer_s or (0.0, 0.0)
        fetch = min(back, max(0.0, ended - queued - tried.run_s))
        start = max(queued, ended - fetch - tried.run_s)
        send = min(there, start - queued)
    return Segment(
        tried.attempt,
        tried.label,
        tried.remote,
        queued - zero,
        None if start is None else start - zero,
        ended - zero if ended else None,
        outcome,
        send,
        fetch,
    )


def header(  # noqa: PLR0913  all by keyword
    state: RunState,
    *,
    number: int,
    now: float,
    total: int,
    reused_from: int = 0,
    note: str = "",
    outlook: Outlook | None = None,
    prices: Mapping[str, float] | None = None,
) -> Header:
    """The run as a whole.

    Args:
        note: What else people must know; that it is undone is added.
        number: The run's number in its session.
        now: UTC seconds.
        total: Steps that were asked for.
        reused_from: Number of the parent run, 0 for none.
        outlook: What holds it up, and when it will end.
        prices: What a slot costs an hour, by executor.
    """
    spent, cost = list(state.spent_s), 0.0
    if prices:
        cost = sum(prices.get(executor, 0.0) * seconds for executor, seconds in state.spent_in.items())
    for live in _LIVE.finditer(state.phase):  # what runs now counts too
        task = live.start()
        pause = state.paused.get(task)
        rested = state.rested_s.get(task, 0.0) + (now - pause.since if pause is not None else 0.0)
        place = state.places[task]
        lasts = max(0.0, now - (state.started[task] or now) - rested)
        spent[place.remote and place.executor != PROCESSES] += lasts
        if prices:
            cost += prices.get(place.executor, 0.0) * lasts
    undoing = len(state.compensating)
    if undoing:
        undone = sum(state.phase[task] == SUCCEEDED for task in state.compensating)
        note = "; ".join(part for part in (note, f"{undone} of {undoing} undone: {state.why_undone}") if part)
    return Header(
        run=state.run,
        number=number,
        workflow=state.workflow,
        status=state.status,
        started_at=state.started_at,
        now=max(0.0, (state.ended_at or now) - state.started_at),
        done=state.phase.count(SUCCEEDED)
        - sum(state.phase[t] == SUCCEEDED for t in (*state.decisions, *state.compensating)),
        total=total - len(state.decisions) - len(state.passed.difference(state.decisions)),
        local_ms=spent[False] * 1e3,
        remote_ms=spent[True] * 1e3,
        reused_from=reused_from,
        groups=state.groups,
        note=note,
        counts=_counts(state),
        retries=sum(state.retried.values()),
        critical=outlook.path if outlook is not None else (),
        slack=outlook.slack if outlook is not None else (),
        finish=outlook.finish if outlook is not None else None,
        finish_from=outlook.basis if outlook is not None else "",
        cost=cost / 3600,
    )


def _counts(state: RunState) -> tuple[tuple[str, int], ...]:
    """Steps by status. Counting bytes is quick; only what is not a plain phase is looked at."""
    found = {name: state.phase.count(number) for number, name in enumerate(PHASES)}
    found["running"] += found.pop("ended")
    found["reused"] = len(state.reused)
    found["cached"] = sum(hit for hit, _ in state.looked_up.values())
    found["succeeded"] -= found["reused"] + found["cached"]
    for task in (*state.undone, *state.paused):  # few: counted above by what they would be otherwise
        shown = row_status(state, task)
        looked = state.looked_up.get(task)
        plain = "reused" if task in state.reused else "cached" if looked is not None and looked[0] else ""
        found[plain or PHASES[state.phase[task]]] -= 1
        found[shown] = found.get(shown, 0) + 1
    for task in (*state.decisions, *state.undo):  # no steps
        found[row_status(state, task)] -= 1
    return tuple((name, count) for name, count in found.items() if count > 0)


def details(state: RunState, task: int) -> Details:
    """What one task printed and how it failed."""
    error = state.errors.get(task)
    return Details(
        step=state.names[task],
        output=tuple(state.output.get(task, ())),
        error_type=error.type if error else "",
        error=error.message if error else "",
        traceback=error.traceback if error else "",
    )
