"""What a step cell says: which function is the step, or which function its statements make. Pure, no IPython.

Everything is parsed with as many empty lines in front as the cell has lines before it, so that each line number
(in tracebacks, in syntax errors, in our own messages) is the one the person counts in the cell.
"""

import ast
import keyword
import re
import symtable
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from cerebelum_nb.errors import DefinitionError
from cerebelum_nb.notebook.reads import first_uses

GIVEN: Final = ("context", "inputs")  # what a step may read without anybody making it
_DEFS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
_QUIET: Final = (ast.ClassDef, ast.Import, ast.ImportFrom, ast.Pass, ast.Assert, getattr(ast, "TypeAlias", ast.Pass))
_MAGIC: Final = re.compile(r"^\s*(?:[%!]|\?\w|[\w.]+\?\??\s*$)|^[\w\s,.\[\]]+=\s*(?:!|%[A-Za-z])")

Known = Callable[[str], str | None]  # a name as written in the cell -> the step it stands for


@dataclass(frozen=True, slots=True)
class StepCell:
    """A cell, understood.

    Attributes:
        tree: The module to compile and run; it defines `function`.
        function: The function that is (or becomes) the step.
        name: The step's name.
        depends_on: Steps it must follow besides those its parameters name.
        statements: The function was made of plain statements.
        valueless: It was, and they end without a value: the step gives None.
        unknown: Names it reads that are neither steps nor made in the cell; they stay globals.
    """

    tree: ast.Module
    function: str
    name: str
    depends_on: tuple[str, ...] = ()
    statements: bool = False
    valueless: bool = False
    unknown: tuple[str, ...] = field(default=())


def read_cell(  # noqa: PLR0913  what a cell is read with, each by name
    source: str,
    *,
    name: str | None,
    known: Known,
    depends: Sequence[str] | None = None,
    first_line: int = 1,
    filename: str = "<cell>",
    given: Sequence[str] = GIVEN,
) -> StepCell:
    """Understand a step cell.

    Args:
        source: The cell without its magic line.
        name: The step's name, if the magic line says one.
        known: Says which step a name stands for, or None.
        depends: What ``--depends`` says; None if it is not there.
        first_line: The number, in the cell, of the first line of `source`.
        filename: What syntax errors call the cell.
        given: What it may read without anybody making it.

    Raises:
        SyntaxError: The cell is not Python; the line number is the cell's.
        DefinitionError: It is Python, but no step.
    """
    tree = parse(source, first_line=first_line, filename=filename, what="a step")
    if not tree.body:
        raise DefinitionError("this step cell is empty: write a function, or statements whose last line is the value")
    if _is_functions(tree, known, given):
        last = [node for node in tree.body if isinstance(node, _DEFS)][-1]
        return StepCell(tree, last.name, name or last.name, tuple(depends or ()))
    if name is None:
        raise DefinitionError(
            "a step cell of plain statements needs a name: %%cerebelum_step NAME. "
            "(Without one, the cell holds function definitions and the last function is the step.)"
        )
    if keyword.iskeyword(name):
        raise DefinitionError(f"a step cannot be called {name!r}: it is a word of Python itself")
    try:
        return _from_statements(tree, name, known, depends, filename, given)
    except SyntaxError as exc:
        raise _with_text(exc, source, first_line) from None


def parse(source: str, *, first_line: int, filename: str, what: str) -> ast.Module:
    """Parse a cell's body; a magic or shell line is refused by name.

    Raises:
        SyntaxError: With the cell's line number.
        DefinitionError: A magic or shell line stands in it.
    """
    try:
        return ast.parse("\n" * (first_line - 1) + source, filename)
    except SyntaxError as exc:
        refuse_magic(source, at=exc.lineno, first_line=first_line, what=what)
        raise


def refuse_magic(source: str, *, at: int | None, first_line: int, what: str) -> None:
    """Say so if a cell is no Python because of a magic or shell line.

    Args:
        at: Where Python gave up, a line of the cell.

    Raises:
        DefinitionError: It is so.
    """
    lines = source.splitlines()
    for number, line in enumerate(lines, first_line):
        if _MAGIC.search(line) and (number == at or _parses("\n".join(lines[: number - first_line]))):
            raise DefinitionError(
                f"line {number}: {line.strip()[:60]!r} is a magic or shell line, and {what} is plain Python "
                "(it may run elsewhere). Move the line to a cell of its own."
            ) from None


def _parses(source: str) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def _with_text(exc: SyntaxError, source: str, first_line: int) -> SyntaxError:
    """A tree has no text, so a late syntax error does not show its line by itself."""
    lines = source.splitlines()
    if exc.text is None and exc.lineno is not None and 0 <= exc.lineno - first_line < len(lines):
        exc.text = lines[exc.lineno - first_line]
    return exc


def _is_functions(tree: ast.Module, known: Known, given: Sequence[str]) -> bool:
    """Whether the cell only defines things; else its statements are the step."""
    if not any(isinstance(node, _DEFS) for node in tree.body):
        return False
    rest = [node for node in tree.body if not isinstance(node, _DEFS)]
    if any(_does_something(node) for node in rest):
        return False
    # `rows = clean(load)` below a helper uses a step's result: that is work, not a constant.
    uses = first_uses(rest)
    return not any(use == "read" and (name in given or known(name)) for name, use in uses.items())


def _does_something(node: ast.stmt) -> bool:
    if isinstance(node, ast.Expr):
        return not isinstance(node.value, ast.Constant)  # a docstring does nothing
    if isinstance(node, ast.If | ast.Try):  # `try: import x` and `if sys.platform ...:` choose definitions
        return any(
            _does_something(inner) for inner in ast.iter_child_nodes(node) if isinstance(inner, ast.stmt)
        ) or any(_does_something(inner) for handler in getattr(node, "handlers", ()) for inner in handler.body)
    if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        return any(isinstance(inner, ast.Await) for inner in ast.walk(node))
    return not isinstance(node, (*_DEFS, *_QUIET))


def _from_statements(  # noqa: PLR0913, PLR0917  what the cell is read with
    tree: ast.Module, name: str, known: Known, depends: Sequence[str] | None, filename: str, given: Sequence[str]
) -> StepCell:
    if not name.isidentifier():
        raise DefinitionError(f"{name!r} cannot name a step cell: it becomes a Python name in the notebook")
    body = list(tree.body)
    found = [node.lineno for node in _own_nodes(body, (ast.Yield, ast.YieldFrom)) if isinstance(node, ast.expr)]
    if found:
        raise DefinitionError(f"line {found[0]}: a step cell cannot yield; its value is its last line, or a return")
    last = body[-1]
    valued = isinstance(last, ast.Expr) or bool(_own_nodes(body, (ast.Return,)))
    if isinstance(last, ast.Expr):
        body[-1] = ast.copy_location(ast.Return(last.value), last)

    # Python's own complaints (`return` in a class, a late `global`) first: only here do they know their lines.
    compile(ast.fix_missing_locations(ast.Module([_function(name, (), body)], [])), filename, "exec", dont_inherit=True)
    free = _free_names(name, body)
    if name in free:
        raise DefinitionError(f"step {name!r} reads {name!r}, the name it gets itself; give the step another name")
    read = {written: step for written in free if written not in given and (step := known(written))}
    wanted = list(dict.fromkeys(read.values() if depends is None else depends))
    aliases = {written: step for written, step in read.items() if step in wanted and step != written}
    _check_identifiers(name, aliases)
    parameters: list[str] = [one for one in given if one in free]
    parameters += [step for step in wanted if step in read.values()]
    # A step with a name of its own (`@step(name="load")`) is read under the variable that holds it.
    renamed = [_assign(written, step, body[0]) for written, step in aliases.items()]
    function = _function(name, parameters, renamed + body)
    return StepCell(
        ast.fix_missing_locations(ast.Module([function], [])),
        name,
        name,
        tuple(step for step in wanted if step not in parameters),
        statements=True,
        valueless=not valued,
        unknown=tuple(n for n in free if n not in read and n not in given),
    )


def _check_identifiers(name: str, aliases: dict[str, str]) -> None:
    for step in aliases.values():
        if not step.isidentifier():
            raise DefinitionError(
                f"step {name!r} reads step {step!r}, whose name cannot be a parameter: rename that step"
            )


def _function(name: str, parameters: Iterable[str], body: list[ast.stmt]) -> ast.FunctionDef | ast.AsyncFunctionDef:
    asynchronous = bool(_own_nodes(body, (ast.Await, ast.AsyncFor, ast.AsyncWith))) or any(
        node.is_async for node in _own_nodes(body, (ast.comprehension,)) if isinstance(node, ast.comprehension)
    )
    made = ast.parse(f"{'async ' if asynchronous else ''}def {name}({', '.join(parameters)}): pass").body[0]
    assert isinstance(made, _DEFS)
    made.body = body
    return made


def _assign(target: str, value: str, at: ast.stmt) -> ast.stmt:
    made = ast.Assign([ast.Name(target, ast.Store())], ast.Name(value, ast.Load()))
    return ast.fix_missing_locations(ast.copy_location(made, at))


def _own_nodes(body: Iterable[ast.AST], kinds: tuple[type[ast.AST], ...]) -> list[ast.AST]:
    """Nodes of some kinds that belong to this body itself, not to a function or class inside it."""
    found: list[ast.AST] = []
    for node in body:
        if isinstance(node, kinds):
            found.append(node)
        if isinstance(node, (*_DEFS, ast.ClassDef)):
            found += _own_nodes(node.decorator_list, kinds)
        elif not isinstance(node, ast.Lambda):
            found += _own_nodes(ast.iter_child_nodes(node), kinds)
    return found


def _free_names(name: str, body: list[ast.stmt]) -> list[str]:
    """What the statements, as a function, read and do not make first; in order of appearance.

    Two sources: what Python's own symbol table calls global (scopes, classes, comprehensions, ``global`` done right),
    and names made in the cell but read before that: ``orders = orders.dropna()`` reads the step ``orders``.
    """
    copy = ast.parse(ast.unparse(ast.Module([_function(name, (), body)], [])))
    text = ast.unparse(_WithoutLocalAnnotations().visit(copy))
    function = symtable.symtable(text, "<cell>", "exec").get_children()[0]
    declared = {s.get_name() for s in function.get_symbols() if s.is_declared_global()}
    free = {
        symbol.get_name()
        for table in _tables(function)
        for symbol in table.get_symbols()
        if symbol.is_global() and symbol.is_referenced() and not symbol.is_declared_global()
    }
    free |= {used for used, use in first_uses(body).items() if use == "read"}
    order = {node.id: i for i, node in reversed(list(enumerate(_in_order(body)))) if node.id in free}
    return sorted(free - declared, key=lambda n: order.get(n, len(order)))


def _tables(table: symtable.SymbolTable) -> list[symtable.SymbolTable]:
    return [table, *(inner for child in table.get_children() for inner in _tables(child))]


def _in_order(body: list[ast.stmt]) -> list[ast.Name]:
    names = [node for statement in body for node in ast.walk(statement) if isinstance(node, ast.Name)]
    return sorted(names, key=lambda node: (node.lineno, node.col_offset))


class _WithoutLocalAnnotations(ast.NodeTransformer):
    """Python never looks at the annotation of a function's own variable; a class's it does."""

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        for i, inner in enumerate(node.body):
            if not isinstance(inner, ast.AnnAssign):
                node.body[i] = self.visit(inner)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        if node.simple:
            node.annotation = ast.Constant(None)
        return node


def wrong_in(body: str, first_line: int, filename: str, exc: SyntaxError) -> SyntaxError:
    """What is wrong with an expression that was read in parentheses of ours, as somebody sees it who sees none."""
    if (exc.lineno or 0) >= first_line + len(body.splitlines()):  # it is about ours
        try:
            compile("\n" * (first_line - 1) + body, filename, "eval", dont_inherit=True)
        except SyntaxError as own:
            return own
    return exc
