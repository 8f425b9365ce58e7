"""What a person sees of a run: rows for the chart and a summary, derived from the fold.

Times are seconds since the run started. Nothing here holds a user's value: no inputs, no results, no
error messages, no prints; those are asked for one task at a time (`details`) and are never stored in a notebook.
"""

import re
from typing import Literal

import msgspec

from cerebelum_nb.model.events import Group
from cerebelum_nb.model.state import PHASES, RUNNING, SUBMITTED, SUCCEEDED, RunState

_LIVE = re.compile(b"[%c%c]" % (SUBMITTED, RUNNING))


class Segment(msgspec.Struct, frozen=True, gc=False):
    """One attempt as drawn: a bar, or a growing one while ``end`` is None."""

    attempt: int
    where: str  # local, distributed, a pool's name
    remote: bool
    queued: float  # handed over; equal to `start` where nothing was queued
    start: float | None  # None: still queued
    end: float | None
    outcome: str  # running, ok, error, timeout, cancelled, lost


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
    needs: tuple[int, ...]
    segments: tuple[Segment, ...]
    prints: int  # how many pieces of output are kept: a change means there is more to ask for
    ms: float | None  # how long the last attempt ran; None before it ended
    kind: Literal["step", "decision", "undo"] = "step"
    group: str = ""  # the nested workflow it belongs to: "outer/inner"
    progress: float | None = None  # 0 to 1, as the step says
    doing: str = ""  # what the step says it does, or what it waits for
    until: float | None = None  # paused: when it goes on by itself, or gives up
    cache: str = ""  # whether its result came from the cache, or why not


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


def row(state: RunState, task: int) -> Row:
    """One task as drawn."""
    place, phase = state.places[task], state.phase[task]
    reused = task in state.reused
    status = "reused" if reused and phase == SUCCEEDED else PHASES[phase]
    looked = state.looked_up.get(task)
    if looked is not None and looked[0] and status == "succeeded":
        status = "cached"
    if task in state.undone:
        status = "undone"
    if status == "ended":
        status = "running"  # the blink between an attempt's end and its task's
    ended, pause = bool(state.ended[task]), state.paused.get(task)
    told = state.progress.get(task)
    if pause is not None:
        status = "approval" if pause.kind == "approval" else "sleeping"
    return Row(
        id=task,
        step=state.names[task],
        status=status,
        where=place.label,
        remote=place.remote,
        attempt=state.attempt[task],
        worker=state.workers.get(task, ""),
        reason=place.reason,
        note=state.reasons.get(task, ""),
        needs=state.needs[task],
        segments=_segments(state, task),
        prints=len(state.output.get(task, ())),
        ms=duration_s(state, task) * 1e3 if ended else None,
        kind="decision" if task in state.decisions else "undo" if task in state.undo else "step",
        group=_group_of(state, task),
        progress=None if told is None else told[0],
        doing=pause.text if pause is not None else "" if told is None else told[1],
        until=pause.until - state.started_at if pause is not None and pause.until else None,
        cache="" if looked is None else looked[1],
    )


def _group_of(state: RunState, task: int) -> str:
    inside = [group.name for group in state.groups if group.first <= task < group.stop]
    return inside[-1] if inside else ""


def _segments(state: RunState, task: int) -> tuple[Segment, ...]:
    zero = state.started_at
    done = [
        Segment(p.attempt, p.label, p.remote, p.started - zero, p.started - zero, p.ended - zero, p.outcome)
        for p in state.past.get(task, ())
        if p.started
    ]
    begun = state.started[task] or state.submitted[task]
    if begun:
        place, ended = state.places[task], state.ended[task]
        queued = state.submitted[task] or begun
        start: float | None = state.started[task] or None
        if ended and state.run_s[task]:
            # "started" may travel with "finished": the worker's own clock says how long it ran.
            start = max(queued, ended - state.run_s[task])
        done.append(
            Segment(
                state.attempt[task],
                place.label,
                place.remote,
                queued - zero,
                None if start is None else start - zero,
                ended - zero if ended else None,
                state.outcome_of(task) if ended else "running",
            )
        )
    return tuple(done)


def header(  # noqa: PLR0913  all by keyword
    state: RunState, *, number: int, now: float, total: int, reused_from: int = 0, note: str = ""
) -> Header:
    """The run as a whole.

    Args:
        note: What else people must know; that it is undone is added.
        number: The run's number in its session.
        now: UTC seconds.
        total: Steps that were asked for.
        reused_from: Number of the parent run, 0 for none.
    """
    spent = list(state.spent_s)
    for live in _LIVE.finditer(state.phase):  # what runs now counts too
        task = live.start()
        pause = state.paused.get(task)
        rested = state.rested_s.get(task, 0.0) + (now - pause.since if pause is not None else 0.0)
        spent[state.places[task].remote] += max(0.0, now - (state.started[task] or now) - rested)
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
    )


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


def failed(made: Header) -> Header:
    """The same run, ended from outside."""
    return msgspec.structs.replace(made, status="failed")
