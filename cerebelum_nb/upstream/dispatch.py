"""Who runs what: workers that poll, steps that wait for one, and the leases between them. On one event loop.

A worker holds a step by a lease. It ends with the worker's answer, or when the worker is known to be gone: its
connection has been closed, it said goodbye, or nothing was heard of it for too long. The step is then given to another
one, so a step may run more than once; three lost workers are enough. An answer to a lease that has ended is refused.
"""

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Callable, Collection
from typing import Any, Final

from cerebelum_nb.upstream import tasks, values
from cerebelum_nb.upstream.blueprints import Blueprint
from cerebelum_nb.upstream.executions import Asked, Error, Execution
from cerebelum_nb.upstream.leases import Lease, Poll, Refused, UnknownWorker, Worker

LOST_MOST: Final = 3
KEPT: Final = 1000  # executions that are over, for those who ask
OPEN_MOST: Final = 10_000
AWAY_S: Final = 5.0  # a worker that has no step and does not ask for one is not there
GONE_S: Final = 2.0  # a closed connection counts after so long: its worker may be opening another one


class Dispatcher:
    """All workers and executions of one server.

    Args:
        say: Called with what a person who looks on should know, a line each.
        lease_s: A worker that holds a step and is not heard of for so long has lost it.
    """

    def __init__(self, say: Callable[[str], None], lease_s: float = 3600.0) -> None:
        self._say, self._lease_s = say, lease_s
        self._loop = asyncio.get_running_loop()
        self.blueprints: dict[str, Blueprint] = {}
        self._refused: dict[str, str] = {}  # workflow, and why
        self.executions: dict[str, Execution] = {}  # oldest first
        self._workers: dict[str, Worker] = {}
        self._polls: deque[Poll] = deque()
        self._queues: dict[str, deque[int]] = {}  # of executions, the one that is served next first
        self._leases: dict[str, Lease] = {}
        self._without_inputs: set[tuple[str, str]] = set()  # workflow and step
        self._missed: set[tuple[str, str]] = set()  # steps that nobody offers, and we have said so

    # workers -------------------------------------------------------------------------------------------------------

    def register(self, worker: str, steps: Collection[str], language: str) -> None:
        """A worker says what it can do; one that is known says it again."""
        if worker not in self._workers:
            self._say(f"worker {worker!r} registered: {', '.join(sorted(steps)) or 'any step'}")
        self._workers[worker] = Worker(frozenset(steps), language, self._loop.time())
        self._without_inputs = {known for known in self._without_inputs if known[1] not in steps}  # maybe edited since
        self._missed = {missed for missed in self._missed if steps and missed[1] not in steps}
        self._pair()

    def knows(self, worker: str) -> bool:
        """Whether a worker has registered."""
        return worker in self._workers

    def unregister(self, worker: str, peer: str) -> None:
        """A worker leaves; what it holds goes to others."""
        for lease in [lease for lease in self._leases.values() if (lease.worker, lease.peer) == (worker, peer)]:
            self._lost(lease, "has left")
        goes_on = any(poll.worker == worker and poll.peer != peer for poll in self._polls)  # a twin of the same name
        if not goes_on and self._workers.pop(worker, None) is not None:
            self._say(f"worker {worker!r} left")

    def seen(self, worker: str) -> None:
        """A worker was heard of."""
        now = self._loop.time()
        if worker in self._workers:
            self._workers[worker].seen = now
        for lease in self._leases.values():
            if lease.worker == worker:
                lease.seen = now

    async def poll(self, worker: str, peer: str, hold_s: float) -> Any | None:
        """Wait for a task for a worker; None if there is none for so long.

        Raises:
            UnknownWorker: It has not registered here, maybe because this Core is younger than it.
        """
        if worker not in self._workers:
            raise UnknownWorker(f"worker {worker!r} is not registered here: register it first")
        self.seen(worker)
        self._gave_up(worker, peer)
        poll = Poll(worker, peer, self._loop.create_future())
        self._polls.append(poll)
        self._pair()
        given = False
        try:
            async with asyncio.timeout(hold_s):
                made = (await poll.task)[1]
                given = True
                return made
        except TimeoutError:
            return None
        finally:
            if poll in self._polls:
                self._polls.remove(poll)
            if not given:  # time is over, or the worker is gone; maybe just as it was to get something
                self._take_back(poll)

    def _take_back(self, poll: Poll) -> None:
        if poll.task.done() and not poll.task.cancelled():
            lease, _ = poll.task.result()
            if self._leases.pop(lease.task_id, None) is not None:
                self._queue_again(lease)

    def _gave_up(self, worker: str, peer: str) -> None:
        """One of the SDK works on one step at a time: when it asks for another it has none, though it did not answer.

        It could not: its answer was refused on the way. The same would happen again.
        """
        if self._workers[worker].language != "python":
            return
        for lease in [lease for lease in self._leases.values() if (lease.worker, lease.peer) == (worker, peer)]:
            del self._leases[lease.task_id]
            text = (
                f"worker {worker!r} did not answer for step {lease.step!r} and asks for another: its result, or what "
                "it gave to sleep or wait_for_approval, may be too large (64 MiB) or nothing that the SDK can send"
            )
            self._failed(lease.execution, lease.number, Error("no_answer", text))

    def held_by(self, peer: str) -> list[Lease]:
        """What somebody at the other end of a connection holds."""
        return [lease for lease in self._leases.values() if lease.peer == peer]

    def sweep(self, connected: Collection[str] | None) -> None:
        """Take back what workers hold that are gone.

        Args:
            connected: The peers that there are; None where that cannot be known.
        """
        now = self._loop.time()
        for lease in list(self._leases.values()):
            if connected is None or lease.peer in connected:
                lease.gone = None
            elif lease.gone is None:
                lease.gone = now
            if lease.gone is not None and now - max(lease.gone, lease.seen) >= GONE_S:
                self._lost(lease, "is gone")
            elif now - lease.seen > self._lease_s:
                self._lost(lease, f"was not heard of for {self._lease_s:.0f} s")

    @property
    def busy(self) -> bool:
        """Whether any worker holds a step."""
        return bool(self._leases)

    def _lost(self, lease: Lease, how: str) -> None:
        del self._leases[lease.task_id]
        step = lease.execution.steps[lease.number]
        step.lost += 1
        self._say(f"worker {lease.worker!r} {how} while it had step {lease.step!r} of execution {lease.execution.id}")
        if step.lost >= LOST_MOST:
            text = f"{LOST_MOST} workers were lost while they had step {lease.step!r}; the last one, {lease.worker!r}, "
            self._failed(lease.execution, lease.number, Error("worker_lost", f"{text}{how}"))
        else:
            self._queue_again(lease)

    # matching ------------------------------------------------------------------------------------------------------

    def _queue_again(self, lease: Lease) -> None:
        if lease.execution.again(lease.number):
            self._queues.setdefault(lease.execution.id, deque()).appendleft(lease.number)
            self._pair()

    def _pair(self) -> None:
        """Give waiting steps to waiting polls: executions take turns, and so do workers."""
        if not self._queues:
            return
        for poll in list(self._polls):
            if not poll.task.done() and (found := self._take_for(poll)) is not None:
                poll.task.set_result(found)
                self._polls.remove(poll)

    def _take_for(self, poll: Poll) -> tuple[Lease, Any] | None:
        for execution_id, queue in self._queues.items():  # whatever changes one of these ends the loop
            execution = self.executions[execution_id]
            for number in queue:
                step = execution.blueprint.steps[number]
                if not self._can(poll.worker, poll.peer, step):
                    continue
                queue.remove(number)
                del self._queues[execution_id]
                if queue:
                    self._queues[execution_id] = queue  # the others' turn
                if (given := self._lend(poll, execution, number)) is not None:
                    return given
                return self._take_for(poll)
        return None

    def _can(self, worker: str, peer: str, step: str) -> bool:
        known = self._workers.get(worker)
        return known is not None and (not known.steps or step in known.steps) and (peer, step) not in known.unable

    def _lend(self, poll: Poll, execution: Execution, number: int) -> tuple[Lease, Any] | None:
        step = execution.blueprint.steps[number]
        with_inputs = (execution.blueprint.name, step) not in self._without_inputs
        made = tasks.task(execution, number, uuid.uuid4().hex, with_inputs=with_inputs)
        if (error := tasks.too_large(made)) is not None:
            self._failed(execution, number, error)
            return None
        lease = Lease(made.task_id, execution, number, poll.worker, poll.peer, self._loop.time(), with_inputs)
        self._leases[lease.task_id] = lease
        execution.begins(number, time.time())
        return lease, made

    def tell_who_waits(self) -> None:
        """Say of steps that wait that no worker which is there offers them, once."""
        at_work = {poll.worker for poll in self._polls} | {lease.worker for lease in self._leases.values()}
        now = self._loop.time()
        here = [w for name, w in self._workers.items() if name in at_work or now - w.seen < AWAY_S]
        for execution_id, queue in self._queues.items():
            blueprint = self.executions[execution_id].blueprint
            for number in queue:
                missed = (blueprint.name, blueprint.steps[number])
                if missed in self._missed or any(not w.steps or missed[1] in w.steps for w in here):
                    continue
                self._missed.add(missed)
                one = "the worker here does not offer it"
                several = one if len(here) == 1 else f"none of the {len(here)} workers offers it"
                who = several if here else "there is no worker"
                self._say(f"step {missed[1]!r} of workflow {missed[0]!r} waits: {who}")

    # answers -------------------------------------------------------------------------------------------------------

    def answer(self, result: Any) -> str:
        """Take a worker's TaskResult; why it is refused, or nothing."""
        self.seen(result.worker_id)
        lease = self._leases.get(result.task_id)
        if lease is None or lease.worker != result.worker_id:
            return f"Task not found: {result.task_id}"
        del self._leases[lease.task_id]
        execution, number, step = lease.execution, lease.number, lease.step
        if tasks.other_way(result, step, had_inputs=lease.with_inputs):
            known = (execution.blueprint.name, step)
            (self._without_inputs.add if lease.with_inputs else self._without_inputs.discard)(known)
            self._queue_again(lease)
            return ""
        outcome = tasks.outcome(result, step)
        if isinstance(outcome, Error) and outcome.kind == "not_found":  # the SDK's word for a step that it has not
            if lease.worker in self._workers:
                self._workers[lease.worker].unable.add((lease.peer, step))
            self._queue_again(lease)
        elif isinstance(outcome, Error):
            self._failed(execution, number, outcome)
        elif isinstance(outcome, Asked):
            self._pause(execution, number, outcome)
        else:
            execution.succeeds(number, outcome, time.time())
            self._advance(execution)
        return ""

    def fail_lease(self, lease: Lease, error: Error) -> None:
        """A worker's answer cannot be read."""
        if self._leases.pop(lease.task_id, None) is not None:
            self._failed(lease.execution, lease.number, error)

    def _failed(self, execution: Execution, number: int | None, error: Error) -> None:
        first = execution.error is None
        execution.fails(number, error, time.time())
        self._queues.pop(execution.id, None)
        if first:
            at = "" if number is None else f" at step {execution.blueprint.steps[number]!r}"
            self._say(f"execution {execution.id} failed{at}: {error.kind}: {' '.join(error.message.split())[:300]}")
            self._forget_old()

    def _advance(self, execution: Execution) -> None:
        for number in execution.ready():
            self._queues.setdefault(execution.id, deque()).append(number)
        if execution.state == "completed":
            self._say(f"execution {execution.id} completed")
            self._forget_old()
        self._pair()

    def _forget_old(self) -> None:
        over = [e.id for e in self.executions.values() if e.ended is not None]
        for old in over[: max(0, len(over) - KEPT)]:
            del self.executions[old]

    # pauses --------------------------------------------------------------------------------------------------------

    def _pause(self, execution: Execution, number: int, asked: Asked) -> None:
        if execution.error is not None:
            execution.again(number)  # it is over: nobody waits for this
            return
        pause = execution.pauses_at(number, asked, time.time())
        if asked.phase == "sleeping":
            self._loop.call_later(asked.ms / 1000, self._awake, execution, number, pause.number)
            return
        self._say(f"execution {execution.id} waits for approval of step {execution.blueprint.steps[number]!r}")
        if asked.ms:
            self._loop.call_later(asked.ms / 1000, self._not_answered, execution, number, pause.number)

    def _awake(self, execution: Execution, number: int, pause: int) -> None:
        """The SDK cannot go on in the middle of a step: what it handed to the sleep is the step's output."""
        now = execution.steps[number].pause
        if now is not None and now.number == pause:
            execution.succeeds(number, values.ok(now.data), time.time())
            self._advance(execution)

    def _not_answered(self, execution: Execution, number: int, pause: int) -> None:
        now = execution.steps[number].pause
        if now is not None and now.number == pause:
            text = f"nobody approved step {execution.blueprint.steps[number]!r} within {now.ms / 1000:g} s"
            self._failed(execution, number, Error("approval_timeout", text))

    def decide(self, execution_id: str, step: str, data: Any, *, approved: bool, reason: str = "") -> str:
        """Say yes or no to a step that waits; its name.

        Args:
            step: Which one; empty where only one waits.
            data: The Struct that is the step's output then.

        Raises:
            Refused: Nothing waits there.
        """
        execution = self.executions.get(execution_id)
        if execution is None:
            raise Refused(f"there is no execution {execution_id!r} here")
        names = execution.blueprint.steps
        waiting = {names[n]: n for n, s in enumerate(execution.steps) if s.phase == "asking"}
        if not step and len(waiting) == 1:
            (step,) = waiting
        if step not in waiting:
            said = f"step {step!r}" if step else "one step"
            raise Refused(f"execution {execution_id} waits for {', '.join(waiting) or 'no approval'}, not for {said}")
        if approved:
            execution.succeeds(waiting[step], values.ok(data), time.time())
            self._advance(execution)
        else:
            self._failed(execution, waiting[step], Error("approval_rejected", reason or f"step {step!r} was rejected"))
        return step

    # clients -------------------------------------------------------------------------------------------------------

    def takes(self, blueprint: Blueprint) -> None:
        """A workflow can be executed from now on, as it stands there."""
        self.blueprints[blueprint.name] = blueprint
        self._refused.pop(blueprint.name, None)

    def refuses(self, workflow: str, why: str) -> None:
        """A workflow cannot be executed; neither as it was before, which is not what somebody wants now."""
        self.blueprints.pop(workflow, None)
        if self._refused.get(workflow) != why:
            self._say(f"refused: {why}")
        if workflow in self._refused or len(self._refused) < KEPT:
            self._refused[workflow] = why

    def begin_nothing(self, workflow: str, inputs: Any) -> Execution:
        """An execution of a workflow that is not here: one that has failed, so that its status says why."""
        why = self._refused.get(workflow) or (
            f"workflow {workflow!r} is not known here: start a worker that registers it, or execute the workflow "
            "itself rather than its name"
        )
        nothing = Blueprint(workflow, "", (), (), ())
        execution = Execution(f"error_{uuid.uuid4()}", nothing, inputs, time.time())
        self.executions[execution.id] = execution
        self._failed(execution, None, Error("unknown_workflow", why))
        return execution

    @property
    def open(self) -> int:
        """How many executions have not ended."""
        return sum(execution.ended is None for execution in self.executions.values())

    def begin(self, blueprint: Blueprint, inputs: Any, execution_id: str = "", timeout_s: float = 0.0) -> Execution:
        """Start an execution; the one that has this id already, if any.

        Raises:
            Refused: Too many are open.
        """
        if execution_id in self.executions:
            return self.executions[execution_id]
        if len(self.executions) - KEPT >= OPEN_MOST:
            raise Refused(f"{OPEN_MOST} executions are open here: let some of them end first")
        execution = Execution(execution_id or str(uuid.uuid4()), blueprint, inputs, time.time())
        self.executions[execution.id] = execution
        if timeout_s > 0:
            self._loop.call_later(timeout_s, self._overdue, execution, timeout_s)
        self._advance(execution)
        return execution

    def _overdue(self, execution: Execution, timeout_s: float) -> None:
        if execution.ended is None:
            self._failed(execution, None, Error("timeout", f"the execution took longer than {timeout_s:g} s"))

    def resume(self, execution: Execution, *, keep: bool) -> None:
        """Go on with an execution that failed."""
        execution.resumes(keep=keep)
        self._advance(execution)
