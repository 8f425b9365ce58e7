"""Drives a real kernel as a front end does: run cells, interrupt them, speak to widgets."""

import queue
import re
import time
from dataclasses import dataclass, field
from typing import Any

from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager, start_new_kernel

DEADLINE_S = 40.0
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Answer:
    status: str = ""
    count: int = 0  # the number beside the cell
    out: str = ""
    err: str = ""
    shown: list[dict[str, Any]] = field(default_factory=list)  # display_data: the data
    ids: list[str | None] = field(default_factory=list)  # and its display id
    updated: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    value: str | None = None
    ename: str = ""
    evalue: str = ""
    traceback: str = ""
    took_s: float = 0.0
    after_interrupt_s: float | None = None

    @property
    def widgets(self) -> list[str]:
        mime = "application/vnd.jupyter.widget-view+json"
        return [data[mime]["model_id"] for data in self.shown if mime in data]

    @property
    def charts(self) -> list[dict[str, Any]]:
        return [data for data in self.shown if "cb-static" in str(data.get("text/html"))]


class Kernel:
    def __init__(self, *, load: bool = True, env: dict[str, str] | None = None) -> None:
        self.manager: KernelManager
        self.client: BlockingKernelClient
        self.manager, self.client = start_new_kernel(kernel_name="python3", **({"env": env} if env else {}))
        self.comms: dict[str, dict[str, Any]] = {}  # comm id -> state, as the front end has it
        self.messages: list[tuple[str, dict[str, Any]]] = []  # custom messages of widgets
        self.updates: list[tuple[str, dict[str, Any]]] = []  # display updates, whoever sent them
        self.closed: list[str] = []
        self.printed = ""  # by any cell
        self.idle: set[str] = set()  # requests that are through
        if load:
            self("%load_ext cerebelum_nb")

    def stop(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def __call__(self, code: str, **how: Any) -> Answer:
        """Run a cell that must succeed."""
        answer = self.run(code, **how)
        assert answer.status == "ok", f"{code}\n{answer.ename}: {answer.evalue}\n{answer.traceback}\n{answer.err}"
        return answer

    def run(
        self,
        code: str,
        *,
        interrupt_at: str = "",
        metadata: dict[str, Any] | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> Answer:
        """Run a cell to its end; interrupt it once its output holds a text."""
        answer, until, interrupted = Answer(), time.monotonic() + deadline_s, 0.0
        started = time.monotonic()
        request = self.start(code, metadata=metadata)
        while True:
            message = self.client.get_iopub_msg(timeout=max(0.1, until - time.monotonic()))
            kind, content = message["msg_type"], message["content"]
            mine = message["parent_header"].get("msg_id") == request
            self._take_in(message)
            if kind == "update_display_data":
                answer.updated.append((content["transient"]["display_id"], content["data"]))
            if not mine:
                continue
            if kind == "status" and content["execution_state"] == "idle":
                break
            self._take(answer, kind, content)
            if interrupt_at and interrupt_at in answer.out and not interrupted:
                self.manager.interrupt_kernel()
                interrupted = time.monotonic()
        reply = self.reply(request, deadline_s)
        answer.status = reply["content"]["status"]
        answer.took_s = time.monotonic() - started
        if interrupted:
            answer.after_interrupt_s = time.monotonic() - interrupted
        return answer

    def start(self, code: str, *, metadata: dict[str, Any] | None = None) -> str:
        """Send a cell and go on."""
        content = {
            "code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False,
            "stop_on_error": True,
        }  # fmt: skip
        message = self.client.session.msg("execute_request", content, metadata=metadata or {})
        self.client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def reply(self, request: str, deadline_s: float = DEADLINE_S) -> dict[str, Any]:
        until = time.monotonic() + deadline_s
        while True:
            reply = self.client.get_shell_msg(timeout=max(0.1, until - time.monotonic()))
            if reply["parent_header"].get("msg_id") == request:
                return reply

    def _take(self, answer: Answer, kind: str, content: dict[str, Any]) -> None:
        if kind == "execute_input":
            answer.count = content["execution_count"]
        if kind == "stream":
            if content["name"] == "stdout":
                answer.out += content["text"]
            else:
                answer.err += content["text"]
        elif kind == "display_data":
            answer.shown.append(content["data"])
            answer.ids.append(content["transient"].get("display_id"))
        elif kind == "execute_result":
            answer.value = content["data"]["text/plain"]
        elif kind == "error":
            answer.ename, answer.evalue = content["ename"], content["evalue"]
            answer.traceback = _COLOUR.sub("", "\n".join(content["traceback"]))

    def _take_in(self, message: dict[str, Any]) -> None:
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            self.printed += content["text"]
        elif kind == "status" and content["execution_state"] == "idle":
            self.idle.add(message["parent_header"].get("msg_id", ""))
        self._widgets(kind, content)

    def finish(self, request: str) -> dict[str, Any]:
        """Wait for a cell that was started; give the content of its reply."""
        self.hear(lambda: request in self.idle)
        content: dict[str, Any] = self.reply(request)["content"]
        return content

    def _widgets(self, kind: str, content: dict[str, Any]) -> None:
        if kind == "comm_open":
            self.comms[content["comm_id"]] = dict(content["data"]["state"])
        elif kind == "comm_close":
            self.closed.append(content["comm_id"])
        elif kind == "update_display_data":
            self.updates.append((content["transient"]["display_id"], content["data"]))
        elif kind == "comm_msg":
            data = content["data"]
            if data["method"] == "update":
                self.comms.setdefault(content["comm_id"], {}).update(data["state"])
            elif data["method"] == "custom":
                self.messages.append((content["comm_id"], data["content"]))

    # -- widgets

    def subshell(self) -> str:
        """A second thread that answers while a cell runs, as JupyterLab asks for it."""
        message = self.client.session.msg("create_subshell_request")
        self.client.control_channel.send(message)
        return str(self.client.get_control_msg(timeout=10)["content"]["subshell_id"])

    def click(self, comm: str, content: dict[str, Any], *, subshell: str | None = None) -> None:
        """Send what a widget's front end sends."""
        data = {"method": "custom", "content": content}
        message = self.client.session.msg("comm_msg", {"comm_id": comm, "data": data})
        if subshell is not None:
            message["header"]["subshell_id"] = subshell
        self.client.shell_channel.send(message)

    def hear(self, wanted: Any, *, deadline_s: float = 15.0) -> Any:
        """Listen until `wanted` gives something that is true; give that back."""
        until = time.monotonic() + deadline_s
        while not (found := wanted()):
            left = until - time.monotonic()
            assert left > 0, f"not heard in {deadline_s} s; last: {self.messages[-3:]}"
            try:
                message = self.client.get_iopub_msg(timeout=min(left, 0.5))
            except queue.Empty:
                continue
            self._take_in(message)
        return found

    def answer_to(self, comm: str, request: int, **how: Any) -> dict[str, Any]:
        """The widget's answer to one request."""
        found: dict[str, Any] = self.hear(
            lambda: next((m for c, m in self.messages if c == comm and m.get("request") == request), None), **how
        )
        return found
