"""`RunWidget`: a run as a live chart. Rows go out, clicks come in.

Only names, states and times are in its traits, for they are saved with the notebook; what steps print, and why they
fail, goes by message to whoever asks.
"""

import functools
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import anywidget
import msgspec
import traitlets

from cerebelum_nb.errors import CerebelumError
from cerebelum_nb.notebook import beside, panel
from cerebelum_nb.notebook.clicks import Clicks
from cerebelum_nb.notebook.feed import Feeds
from cerebelum_nb.notebook.wording import told
from cerebelum_nb.rules.kept import Steps
from cerebelum_nb.runtime.run import Run

TEXT: Final = "cerebelum_nb run"  # the same for every run, so that notebooks can be compared
ROWS_LIMIT: Final = 2_000  # in one patch
SNAPSHOT_LIMIT: Final = 10_000  # rows of a run that are shown at all: a snapshot is saved with the notebook
_STATIC: Final = Path(__file__).parent / "static"


class RunWidget(anywidget.AnyWidget):
    """Follows a run, and after a click on a bar of an ended run the new one."""

    # Traits of our own: paths would make anywidget watch them for the class, and so keep every widget for ever.
    _esm = traitlets.Unicode().tag(sync=True)
    _css = traitlets.Unicode().tag(sync=True)
    snapshot = traitlets.Dict().tag(sync=True)

    def __init__(  # noqa: PLR0913  put together in one place, the display
        self,
        run: Run,
        *,
        executors: Sequence[Mapping[str, Any]],
        clicks: Clicks,
        feeds: Feeds,
        on_end: Callable[["RunWidget", Run], None],
        readable: Callable[[str], str] = str,
        cell_name: Callable[[str], str] = str,
    ) -> None:
        self._readable = readable  # a traceback with cells called as people call them
        self._cell_name = cell_name
        self._leave: Callable[[], None] = _nothing
        self._run, self._executors, self._clicks, self._feeds, self._on_end = run, executors, clicks, feeds, on_end
        self.widget_id = secrets.token_hex(8)  # known before there is a comm; names the static chart it hides
        self._number = 0  # of the last message that carries rows
        self._sending = threading.RLock()  # numbers go out in order
        self._ended = threading.Event()
        self.on_msg(self._on_message)  # before there is anybody to hear
        super().__init__()
        self._leave = feeds.follow(run, self._on_rows)

    @traitlets.default("_esm")
    def _default_esm(self) -> str:
        return _static("widget.js")

    @traitlets.default("_css")
    def _default_css(self) -> str:
        return _static("widget.css")

    @property
    def run(self) -> Run:
        """The run it shows."""
        return self._run

    def open(self) -> None:
        """Tell the front end that it is there."""
        super().open()
        # ipykernel 7.4.0 answers a comm where it last published, not where the front end asked: a click would wait
        # for the running cell.
        if hasattr(self.comm, "_reply_subshell_for"):
            self.comm._reply_subshell_for = lambda _data, default: default  # noqa: SLF001

    def settled(self, timeout: float) -> bool:
        """Wait until the last rows of an ended run are on their way."""
        return self._ended.wait(timeout)

    def close(self) -> None:
        """Let go of the run, and of the front end's copy. May be called twice: the garbage collector does."""
        leave, self._leave = self._leave, _nothing
        leave()
        self.on_msg(self._on_message, remove=True)
        layout = self._trait_values.get("layout")
        super().close()
        if layout is not None:
            layout.close()  # ours alone, and kept by ipywidgets otherwise

    # -- to the front end

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002  ipywidgets' signature
        """The state as it is now: a page that is loaded again during a run does not see an old one."""
        if key is None or key == "snapshot" or (not isinstance(key, str) and "snapshot" in key):
            self._trait_values["snapshot"] = _without_words(self._snapshot())
        state: dict[str, Any] = super().get_state(key=key, drop_defaults=drop_defaults)
        return state

    def _repr_mimebundle_(self, **_kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        view = {"version_major": 2, "version_minor": 1, "model_id": self.model_id}
        return {"text/plain": TEXT, "text/html": "", "application/vnd.jupyter.widget-view+json": view}, {}

    def _snapshot(self) -> dict[str, Any]:
        with self._sending:
            seq, run = self._number, self._run  # taken first: rows may be newer than the number, never older
        return {
            "widget_id": self.widget_id,
            "seq": seq,
            "header": msgspec.to_builtins(run.header()),
            "rows": msgspec.to_builtins(run.rows(range(min(len(run.plan.names), SNAPSHOT_LIMIT)))),
            "executors": list(self._executors),
        }

    def _send_snapshot(self) -> None:
        # As `send_state` does, without its search for binary values: there are none among thousands of rows.
        self._send({"method": "update", "state": self.get_state("snapshot"), "buffer_paths": []})

    def _follow(self, run: Run) -> None:
        self._leave()
        with self._sending:
            self._run = run
            self._number += 1
            self._ended.clear()
            self._send_snapshot()
        # It may have ended meanwhile; being told so is then the first thing that happens.
        self._leave = self._feeds.follow(run, self._on_rows)

    def _on_rows(self, run: Run, tasks: Sequence[int], ended: bool) -> None:  # noqa: FBT001  as the feed calls it
        with self._sending:
            if run is not self._run:
                return
            header = msgspec.to_builtins(run.header())
            seen = [task for task in tasks if task < SNAPSHOT_LIMIT]
            for start in range(0, max(1, len(seen)), ROWS_LIMIT):
                self._number += 1
                rows = msgspec.to_builtins(run.rows(seen[start : start + ROWS_LIMIT]))
                self.send({"kind": "patch", "run": run.id, "seq": self._number, "header": header, "rows": rows})
            if ended:
                self._send_snapshot()
        if ended:
            self._ended.set()
            self._on_end(self, run)

    # -- from the front end

    def _on_message(self, _widget: object, content: Any, _buffers: object) -> None:
        if isinstance(content, dict):
            self._clicks.do(lambda: self._answer(content))

    def _answer(self, content: dict[str, Any]) -> None:
        kind, request = str(content.get("kind")), content.get("request", 0)
        step = str(content.get("step", ""))
        try:
            if kind == "resync":
                with self._sending:
                    self.send({"kind": "snapshot", "snapshot": self._snapshot()})
            elif kind == "preview":
                self._preview(request, content)
            elif kind == "details":
                details = msgspec.to_builtins(self._run.details(step))
                details["traceback"] = self._readable(details["traceback"])
                asked = next((told(a.data) for a in self._run.approvals if a.step == step), "")
                self.send({"kind": "details", "request": request, **details, "asked": asked})
            elif kind == "apply":
                self._apply(request, content)
            elif kind in ("look", "choices", "keep", "file", "others", "compare", "replay"):
                self.send({"kind": kind, "request": request, **self._asked(kind, content)})
            elif kind in ("approve", "reject"):
                self._decide(request, step, content)
            elif kind == "cancel":
                run = self._run
                over = run.done
                run.cancel()
                went = "had already ended." if over else "is being cancelled."
                self._acknowledge(request, f"Run {run.number} {went} In Python: runs[{run.number}].cancel()")
            else:
                self._acknowledge(request, f"this kernel does not know {kind!r}", ok=False)
        except CerebelumError as exc:
            self._acknowledge(request, str(exc), ok=False)
        except Exception as exc:
            self._acknowledge(request, f"{type(exc).__name__}: {exc}", ok=False)
            raise

    def _acknowledge(self, request: Any, text: str, *, ok: bool = True) -> None:
        self.send({"kind": "ack", "request": request, "ok": ok, "text": text})

    def _asked(self, kind: str, content: dict[str, Any]) -> dict[str, Any]:
        if kind == "look":
            return panel.look(self._run, content)
        if kind == "choices":
            return panel.choices(self._run, content, [str(e["name"]) for e in self._executors])
        if kind == "others":
            return beside.others(self._run)
        if kind == "compare":
            return beside.beside(self._run, content, SNAPSHOT_LIMIT)
        if kind == "keep":
            return panel.keep(self._run, content, self._cell_name)
        return (panel.replay if kind == "replay" else panel.file)(self._run, content)

    def _preview(self, request: Any, content: dict[str, Any]) -> None:
        step, executor = str(content.get("step", "")), _executor(content)
        answer = {"kind": "preview", "request": request, "step": step, "executor": executor}
        try:
            found = self._run.preview(_steps(content), executor, **_scope(content))
        except CerebelumError as exc:
            self.send({**answer, "runs": [], "reuses": [], "lost": "", "code": "", "ok": False, "text": str(exc)})
            return
        edited = f"Edited since, so it runs too: {', '.join(found.edited)}." if found.edited else ""
        plan = {"runs": found.runs, "reuses": found.reuses, "lost": found.lost or edited, "code": found.code}
        known = {"why": dict(found.why), "seconds": found.seconds, "untimed": found.untimed}
        refused = str(getattr(found, "refused", "") or "")
        self.send({**answer, **plan, **known, "ok": not refused, "text": refused})

    def _decide(self, request: Any, step: str, content: dict[str, Any]) -> None:
        run = self._run
        if content["kind"] == "reject":
            reason = str(content.get("reason") or "")
            run.reject(step, reason)
            given = f", {reason!r}" if reason else ""
            text = f'{step} rejected. In Python: runs[{run.number}].reject("{step}"{given})'
        elif content.get("value") is None:
            run.approve(step)
            text = f'{step} approved. In Python: runs[{run.number}].approve("{step}")'
        else:
            run.approve(step, content["value"])
            text = f'{step} approved. In Python: runs[{run.number}].approve("{step}", {content["value"]!r:.80})'
        self._acknowledge(request, text)

    def _apply(self, request: Any, content: dict[str, Any]) -> None:
        before, steps, executor, scope = self._run, _steps(content), _executor(content), _scope(content)
        code = before.preview(steps, executor, **scope).code
        run = before.apply(steps, executor, **scope)
        if run is before:
            what = steps if isinstance(steps, str) else f"{len(steps or ())} steps"
            done = f"{what} moved to {executor}" if executor else f"{what} runs again"
            self._acknowledge(request, f"{done}. In Python: {code}")
            return
        self._acknowledge(request, f"Run {run.number} started from run {before.number}: it is runs[{run.number}].")
        self._follow(run)


def _without_words(snapshot: dict[str, Any]) -> dict[str, Any]:
    """A snapshot as it may be saved with the notebook: what steps say of themselves is theirs, like their prints."""
    return {
        **snapshot,
        "rows": [{**r, "doing": "", "said": ""} if r["doing"] or r["said"] else r for r in snapshot["rows"]],
    }


def _executor(content: Mapping[str, Any]) -> str | None:
    executor = content.get("executor")
    return None if executor is None else str(executor)


def _steps(content: Mapping[str, Any]) -> Steps | None:
    return None if content.get("scope") == "all" else panel.steps_of(content)


def _scope(content: Mapping[str, Any]) -> dict[str, bool]:
    """How much of a run runs again, as `Run.rerun` says it."""
    return {"this": {"only": True}, "all": {"everything": True}}.get(str(content.get("scope")), {})


def _nothing() -> None:
    pass


@functools.cache
def _static(name: str) -> str:
    return (_STATIC / name).read_text("utf-8")
