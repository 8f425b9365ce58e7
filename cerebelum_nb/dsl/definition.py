"""From what a workflow's function says to a `WorkflowDef`: steps by number, decisions and nested workflows put in.

Three moves: the timeline becomes nodes that know which others they follow; each route puts a decision after its step,
its ways after the decision, and what followed the step after the ways; at the end nodes get their numbers, a nested
workflow as many as it has steps.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from cerebelum_nb.dsl.nested import SubWorkflow
from cerebelum_nb.dsl.routes import BackTo, RawRoute, RawWay
from cerebelum_nb.dsl.step import StepMetadata
from cerebelum_nb.dsl.timeline import Chainable, Order
from cerebelum_nb.errors import DefinitionError, PlanError
from cerebelum_nb.model.options import StepOptions
from cerebelum_nb.model.typed import nearest
from cerebelum_nb.model.workflow import GroupDef, Parameter, Route, StepDef, Way, WorkflowDef

if TYPE_CHECKING:
    from cerebelum_nb.dsl.workflow import Workflow, WorkflowBuilder

DEEPEST: Final = 8  # workflows in workflows


class Newest(Protocol):
    """Who knows the newest definition of a step."""

    def newest(self, step: StepMetadata) -> StepMetadata:
        """The newest definition of a step."""


def define(workflow: "Workflow", builder: "WorkflowBuilder", home: Newest, inside: tuple[str, ...]) -> WorkflowDef:
    """The whole definition; see `Workflow.define`."""
    path = (*inside, workflow.name)
    if workflow.name in inside:
        raise PlanError(f"workflow {workflow.name!r} contains itself: {' -> '.join(path)}")
    if len(path) > DEEPEST:
        raise PlanError(f"workflows are nested more than {DEEPEST} deep: {' -> '.join(path)}")
    order = builder.order
    if not order.steps:
        raise PlanError(f"workflow {workflow.name!r} has no steps: put some in order with wf.timeline(a >> b)")
    if not builder.routes and all(type(step) is StepMetadata for step in order.steps):
        steps = tuple([home.newest(step).definition for step in order.steps])  # type: ignore[arg-type]  # checked above
        return WorkflowDef(workflow.name, steps, tuple(order.follows), workflow.executor, workflow.execution_strategy)
    nodes = _Nodes(workflow.name, order)
    for route in builder.routes:
        nodes.route(route)
    return _numbered(workflow, nodes.all, home, path)


def with_defaults(made: WorkflowDef, given: StepOptions) -> WorkflowDef:
    """The same workflow; its steps that do not say where else they may run get what it says for all.

    Raises:
        PlanError: It says how long a queue may be, and no step of it has another place to go.
    """
    if not given.fallback and given.max_queue is None:
        return made
    decisions = {route.decision for route in made.routes}
    steps = [step if i in decisions else _with_defaults(step, given) for i, step in enumerate(made.steps)]
    if given.max_queue is not None and all(step.options.max_queue is None for step in steps):
        raise PlanError(
            f"workflow {made.name!r} says max_queue={given.max_queue}, and no step of it has another place to go: "
            'add fallback="local", or a list of executors'
        )
    return msgspec.structs.replace(made, steps=tuple(steps))


def _with_defaults(step: StepDef, given: StepOptions) -> StepDef:
    asked = step.options
    fallback = asked.fallback or given.fallback
    leaves = fallback not in ((), ("error",))
    most = given.max_queue if asked.max_queue is None and leaves else asked.max_queue
    if (fallback, most) == (asked.fallback, asked.max_queue):
        return step
    return msgspec.structs.replace(step, options=msgspec.structs.replace(asked, fallback=fallback, max_queue=most))


class _Node:
    """One place in the timeline: a step, a nested workflow, or a decision with its ways."""

    __slots__ = ("follows", "member", "ways")

    def __init__(self, member: Chainable | StepDef, follows: Iterable["_Node"]) -> None:
        self.member, self.follows = member, list(follows)
        self.ways: list[tuple[RawWay, list[_Node], _Node | None]] = []  # its steps, and where it goes back to

    @property
    def name(self) -> str:
        return str(getattr(self.member, "name", self.member))

    def above(self) -> set["_Node"]:
        """All that it follows, directly or not."""
        found: set[_Node] = set()
        todo = list(self.follows)
        while todo:
            node = todo.pop()
            if node not in found:
                found.add(node)
                todo += node.follows
        return found


class _Nodes:
    """The nodes of one workflow, in the order in which people read them."""

    def __init__(self, workflow: str, order: Order) -> None:
        self._workflow = workflow
        self.all: list[_Node] = []
        self._routed: dict[_Node, RawRoute] = {}  # a way's node -> whose way it is
        for step, follows in zip(order.steps, order.follows, strict=True):
            self.all.append(_Node(step, [self.all[i] for i in follows]))

    def route(self, raw: RawRoute) -> None:
        """Put a decision and its ways in."""
        source = self._find(raw.after)
        if source is None:
            raise PlanError(self._nowhere(raw, raw.after, "decides by"))
        decision = _Node(self._decision(source, raw.choose), [source])
        after = [n for n in self.all if source in n.follows and not isinstance(n.member, StepDef)]
        place = self.all.index(source) + 1
        while place < len(self.all) and self._belongs_to(self.all[place], source):
            place += 1
        self.all.insert(place, decision)
        above, ends = decision.above(), list[_Node]()
        for way in raw.ways:
            if isinstance(way.target, BackTo):
                decision.ways.append((way, [], self._back(raw, way.target, above)))
                continue
            steps, tails, new = self._way(raw, way, decision, above)
            ends += tails
            self.all[place + 1 : place + 1] = new
            place += len(new)
            decision.ways.append((way, steps, None))
        chosen = {node for _, steps, _ in decision.ways for node in steps}
        for node in after:
            if node not in chosen:
                node.follows += [decision, *ends]

    def _belongs_to(self, node: _Node, source: _Node) -> bool:
        """It was put after `source` by an earlier route."""
        return node in self._routed or (isinstance(node.member, StepDef) and source in node.follows)

    def _way(
        self, raw: RawRoute, way: RawWay, decision: _Node, above: set[_Node]
    ) -> tuple[list[_Node], list[_Node], list[_Node]]:
        """A way's nodes; those of them that nothing of the way follows, and those that the timeline did not have."""
        if way.target is None:
            return [], [], []
        if isinstance(way.target, str):
            known = self._find(way.target)
            if known is None:
                raise PlanError(self._nowhere(raw, way.target, "leads to"))
            order = Order().then(known.member)
        else:
            order = Order().then(way.target)
        steps: list[_Node] = []
        new: list[_Node] = []
        for step, follows in zip(order.steps, order.follows, strict=True):
            node = self._find(step)
            if node is None:
                node = _Node(step, [steps[i] for i in follows] or [decision])
                new.append(node)
            elif node in above:
                raise PlanError(
                    f"workflow {self._workflow!r}: {raw.call} leads to {node.name!r}, which comes before it. "
                    f"To run it again, write back_to({node.name})."
                )
            else:
                node.follows.append(decision)
            if (other := self._routed.setdefault(node, raw)) is not raw:
                raise PlanError(
                    f"workflow {self._workflow!r}: {node.name!r} is a target of {other.call} and of {raw.call}. "
                    "Give one of them a step of its own."
                )
            steps.append(node)
        followed = {n for node in steps for n in node.follows}
        return steps, [node for node in new if node not in followed], new

    def _back(self, raw: RawRoute, back: BackTo, above: set[_Node]) -> _Node:
        target = self._find(back.target)
        if target is None:
            raise PlanError(self._nowhere(raw, back.target, "goes back to"))
        if target not in above:
            raise PlanError(
                f"workflow {self._workflow!r}: {raw.call} goes back to {target.name!r}, which does not come before it"
            )
        return target

    def _find(self, wanted: Any) -> _Node | None:
        name = wanted if isinstance(wanted, str) else getattr(wanted, "name", None)
        return next((node for node in self.all if node.member is wanted or node.name == name), None)

    def _decision(self, source: _Node, choose: Callable[[Any], Any]) -> StepDef:
        name, number = f"{source.name}?", 1
        while self._find(name) is not None:
            number += 1
            name = f"{source.name}?{number}"
        parameter = Parameter(source.name, "step")
        return StepDef(name, choose, (parameter,), (source.name,), "local", is_async=True, defined_at="")

    def _nowhere(self, raw: RawRoute, wanted: Any, does: str) -> str:
        name = wanted if isinstance(wanted, str) else str(getattr(wanted, "name", None) or f"{wanted!r:.60}")
        known = [node.name for node in self.all if not isinstance(node.member, StepDef)]
        return (
            f"workflow {self._workflow!r}: {raw.call} {does} {name!r}, which is not in its timeline."
            f"{nearest(name, known)}"
        )


class _Numbered:
    """A node's steps in the finished definition."""

    __slots__ = ("first", "heads", "stop", "tails")

    def __init__(self, first: int, stop: int, heads: Sequence[int], tails: Sequence[int]) -> None:
        self.first, self.stop, self.heads, self.tails = first, stop, tuple(heads), tuple(tails)


def _numbered(workflow: "Workflow", nodes: Sequence[_Node], home: Newest, path: tuple[str, ...]) -> WorkflowDef:
    steps: list[StepDef] = []
    follows: list[tuple[int, ...]] = []
    routes: list[Route] = []
    groups: list[GroupDef] = []
    at: dict[_Node, _Numbered] = {}
    for node in nodes:
        first, member = len(steps), node.member
        # What stands later in the list has no number yet: the planner finds the cycle by name.
        before = tuple(sorted({n for other in node.follows if other in at for n in at[other].tails}))
        if isinstance(member, SubWorkflow):
            inner = _inner(workflow, member, path)
            heads = [first + i for i, group in enumerate(inner.follows) if not group]
            followed = {i for group in inner.follows for i in group}
            tails = [first + i for i in range(len(inner.steps)) if i not in followed]
            steps += inner.steps
            follows += [tuple(first + i for i in group) or before for group in inner.follows]
            routes += [_shifted(route, first) for route in inner.routes]
            answer = first + len(inner.steps) - 1
            groups.append(GroupDef(member.name, first, len(steps), answer, member.inputs))
            groups += [_moved(group, first, member.name) for group in inner.groups]
            at[node] = _Numbered(first, len(steps), heads, tails)
            continue
        if isinstance(member, StepDef):
            steps.append(member)
        elif isinstance(member, StepMetadata):
            steps.append(home.newest(member).definition)
        else:
            raise DefinitionError(f"workflow {workflow.name!r} holds {member!r:.60}, which is not a step")
        follows.append(before)
        at[node] = _Numbered(first, first + 1, (first,), (first,))
    for node in nodes:
        if node.ways:
            routes.append(Route(at[node].first, tuple(_way(way, at) for way in node.ways)))
    return WorkflowDef(
        workflow.name,
        tuple(steps),
        tuple(follows),
        workflow.executor,
        workflow.execution_strategy,
        tuple(routes),
        tuple(groups),
    )


def _way(way: tuple[RawWay, list[_Node], _Node | None], at: dict[_Node, _Numbered]) -> Way:
    raw, nodes, back = way
    chosen = tuple(sorted({n for node in nodes for n in range(at[node].first, at[node].stop)}))
    if back is None:
        return Way(raw.label, chosen)
    return Way(raw.label, (), at[back].heads, raw.target.limit)


def _inner(workflow: "Workflow", sub: SubWorkflow, path: tuple[str, ...]) -> WorkflowDef:
    """The definition of a nested workflow, its steps named after it, with its own wishes in them."""
    inner = sub.workflow.define(path)
    said, whole = sub.workflow.on_failure, workflow.on_failure or "compensate"
    if said not in (None, whole) and any(step.undo is not None for step in inner.steps):
        raise PlanError(
            f"nested workflow {sub.name!r} says on_failure={said!r}, but runs of {workflow.name!r} go by "
            f"{whole!r}, its steps too: say on_failure={said!r} there, or take it away here"
        )
    strategy = workflow.execution_strategy
    steps = []
    for step in inner.steps:
        mine = strategy.get(f"{sub.name}/{step.name}") or strategy.get(sub.name, "")
        own = _first(mine, sub.executor, _wish_of(inner, step))
        scope = f"{sub.name}/{step.scope}" if step.scope else sub.name
        steps.append(msgspec.structs.replace(step, name=f"{sub.name}/{step.name}", scope=scope, nested_wish=own))
    return msgspec.structs.replace(inner, steps=tuple(steps))


def _wish_of(inner: WorkflowDef, step: StepDef) -> str:
    named = inner.strategy.get(step.name, "auto")
    return _first(named, step.nested_wish, inner.strategy.get("default", "auto"), inner.executor)


def _first(*wishes: str) -> str:
    return next((wish for wish in wishes if wish not in ("", "auto")), "")


def _shifted(route: Route, by: int) -> Route:
    ways = tuple(
        Way(w.label, tuple(n + by for n in w.steps), tuple(n + by for n in w.back_to), w.limit) for w in route.ways
    )
    return Route(route.decision + by, ways)


def _moved(group: GroupDef, by: int, name: str) -> GroupDef:
    return GroupDef(f"{name}/{group.name}", group.first + by, group.stop + by, group.answer + by, group.inputs)
