"""Which part of a notebook's cells defines things: everything but what starts runs, and what needs their results. Pure.

A cell is looked at statement by statement. A statement that starts a run (``order_workflow.run(...)``, ``await
order_workflow.execute(...)``, ``run.rerun(...)``, ``%cerebelum_run``) becomes an empty line, so line numbers in errors
stay the notebook's; so does one that reads a name which only such a statement makes (``result.output``).
"""

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

_STARTS: Final = frozenset({"run", "execute", "rerun", "resume", "compensate", "apply", "replay"})
_RUN_MAGIC: Final = re.compile(
    r"%cerebelum_run\b|%cerebelum\s+(?:rerun|resume|compensate|compare|replay|approve|reject)\b"
)
_RUN_CALL: Final = re.compile(r"\.(?:run|execute|rerun|resume|replay|compensate(?=\s*\(\s*\)))\s*\(")
_LINE_MAGIC: Final = re.compile(
    r"^(?P<indent>\s*)(?P<target>[\w\s,.\[\]]+=\s*)?(?P<magic>[%!?](?!=).*|[\w.]+\?\??\s*)$"
)
_DEFINES: Final = frozenset({"cerebelum_step", "cerebelum_workflow"})
_STAND_IN: Final = "__magic__"


def defining(cells: Sequence[str]) -> list[str]:
    """Each cell without its runs; empty where nothing is left to do."""
    made_by_runs = {"runs"}  # the session's, bound by %load_ext
    modules: set[str] = set()
    return [_defining(cell, made_by_runs, modules) for cell in cells]


def _defining(cell: str, gone: set[str], modules: set[str]) -> str:
    text = cell.lstrip()
    if text.startswith("%%"):
        magic = text[2:].split(None, 1)[0] if text[2:].split() else ""
        if magic in _DEFINES:
            return cell
        return "" if _RUN_MAGIC.search(text[1:]) or _RUN_CALL.search(text) else cell
    lines = cell.splitlines()
    tree = _parsed([_without_magic(line) for line in lines])
    if tree is None:  # the kernel will say what is wrong with it, unless it is about a run
        return "" if _RUN_MAGIC.search(cell) or _RUN_CALL.search(cell) else cell
    for statement in tree.body:
        modules |= _modules(statement)
        wanted = _starts_run(statement, modules) or bool(_read(statement) & gone)
        if not _imports_ours(statement):
            gone.difference_update(_written(statement))
        if wanted:
            gone.update(_written(statement))
            first = min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", ()))])
            for number in range(first, (statement.end_lineno or first) + 1):
                lines[number - 1] = ""
    return "\n".join(lines) if any(line.strip() for line in lines) else ""


def _without_magic(line: str) -> str:
    """A magic or shell line as a Python line of the same meaning to us: a call that may start a run."""
    found = _LINE_MAGIC.match(line)
    if found is None:
        return line
    call = f"{_STAND_IN}.run()" if _RUN_MAGIC.search(found["magic"]) else _STAND_IN
    return f"{found['indent']}{found['target'] or ''}{call}"


def _parsed(lines: Iterable[str]) -> ast.Module | None:
    try:
        made = compile("\n".join(lines), "<cell>", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except (SyntaxError, ValueError):
        return None
    assert isinstance(made, ast.Module)
    return made


def _now(node: ast.AST) -> Iterator[ast.AST]:
    """What a statement evaluates when it stands there: not the bodies of functions, which run later."""
    yield node
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        inner: list[ast.AST] = [*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)]
    elif isinstance(node, ast.Lambda):
        inner = []
    else:
        inner = list(ast.iter_child_nodes(node))
    for child in inner:
        yield from _now(child)


def _starts_run(statement: ast.stmt, modules: set[str]) -> bool:
    for node in _now(statement):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _STARTS:
            root = _root(node.func)
            defines = node.func.attr == "compensate" and bool(node.args)  # `charge.compensate(refund)`
            if root not in modules and not defines and not (node.func.attr == "apply" and not _names_a_step(node)):
                return True
    return False


def _names_a_step(call: ast.Call) -> bool:
    # `run.apply("step", ...)` starts a run; `frame.apply(function)` is pandas.
    return (
        bool(call.args) and isinstance(call.args[0], ast.Constant) and any(k.arg == "executor" for k in call.keywords)
    )


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute | ast.Call | ast.Subscript | ast.Await):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _modules(statement: ast.stmt) -> set[str]:
    """Names that `import x` makes: `subprocess.run` starts no run of ours."""
    return {
        alias.asname or alias.name.split(".")[0]
        for node in ast.walk(statement)
        if isinstance(node, ast.Import)
        for alias in node.names
    }


def _imports_ours(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("cerebelum_nb")


def _read(statement: ast.stmt) -> set[str]:
    return {node.id for node in _now(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


def _written(statement: ast.stmt) -> set[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    return {node.id for node in _now(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
