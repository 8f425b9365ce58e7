"""In which way a piece of code first uses each name: reads it or makes it. Pure.

Python's symbol table says where a name lives, not what happens first; ``df = df.dropna()`` makes ``df`` a local name
that is read before it is made. Statements are followed in the order in which they run, branches one after the other;
bodies of functions run later and do not count.
"""

import ast
from collections.abc import Iterable
from typing import Literal

Use = Literal["read", "write"]
_COMPREHENSIONS = ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp


def first_uses(body: Iterable[ast.AST]) -> dict[str, Use]:
    """Each name with its first use."""
    uses = _Uses()
    for node in body:
        uses.visit(node)
    return uses.first


class _Uses(ast.NodeVisitor):
    """Visits children in the order in which Python evaluates them."""

    def __init__(self) -> None:
        self.first: dict[str, Use] = {}

    def _visit_all(self, nodes: Iterable[ast.AST | None]) -> None:
        for node in nodes:
            if node is not None:
                self.visit(node)

    def _write(self, name: str | None) -> None:
        if name is not None:
            self.first.setdefault(name, "write")

    def visit(self, node: ast.AST) -> None:  # noqa: C901, PLR0912  a case for each kind of node, none with any depth
        match node:
            case ast.Name():
                self.first.setdefault(node.id, "write" if isinstance(node.ctx, ast.Store) else "read")
            case ast.Assign():
                self._visit_all([node.value, *node.targets])
            case ast.AugAssign():
                if isinstance(node.target, ast.Name):
                    self.first.setdefault(node.target.id, "read")
                self._visit_all([node.target, node.value])
            case ast.AnnAssign():
                self._visit_all([node.value, None if node.simple and node.value is None else node.target])
            case ast.NamedExpr():
                self._visit_all([node.value, node.target])
            case ast.For() | ast.AsyncFor():
                self._visit_all([node.iter, node.target, *node.body, *node.orelse])
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                self._comprehension(node)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                annotations = [a.annotation for a in ast.walk(node.args) if isinstance(a, ast.arg)]
                self._visit_all([*node.decorator_list, *node.args.defaults, *node.args.kw_defaults, *annotations])
                self._write(node.name)
            case ast.Lambda():
                self._visit_all([*node.args.defaults, *node.args.kw_defaults])
            case ast.ClassDef():
                self._visit_all([*node.decorator_list, *node.bases, *node.keywords])
                self._inner(first_uses(node.body))
                self._write(node.name)
            case ast.alias():
                self._write(node.asname or node.name.split(".")[0])
            case ast.ExceptHandler():
                self._visit_all([node.type])
                self._write(node.name)
                self._visit_all(node.body)
            case ast.MatchAs() | ast.MatchStar():
                self.generic_visit(node)
                self._write(node.name)
            case ast.MatchMapping():
                self.generic_visit(node)
                self._write(node.rest)
            case _:
                self.generic_visit(node)

    def _comprehension(self, node: _COMPREHENSIONS) -> None:
        own: set[str] = set()
        for generator in node.generators:
            self._inner(first_uses([generator.iter]), own, leaks=True)
            own |= {
                n.id for n in ast.walk(generator.target) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
            }
            self._inner(first_uses(generator.ifs), own, leaks=True)
        results = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        self._inner(first_uses(results), own, leaks=True)

    def _inner(self, uses: dict[str, Use], own: Iterable[str] = (), *, leaks: bool = False) -> None:
        """Take over what a nested scope reads from outside; of a comprehension also what ``:=`` makes there."""
        for name, use in uses.items():
            if name not in own and (use == "read" or leaks):
                self.first.setdefault(name, use)
