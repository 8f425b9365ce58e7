import ast

import pytest

from cerebelum_nb.errors import DefinitionError
from cerebelum_nb.notebook.cell import read_cell

STEPS = {"a": "a", "b": "b", "df": "df", "loader": "load_orders"}


def function_of(source: str, depends=None) -> str:
    """The function that a cell of statements becomes, as text; always called `made`."""
    return ast.unparse(read_cell(source, name="made", known=STEPS.get, depends=depends, first_line=2).tree)


@pytest.mark.parametrize(
    ("source", "signature"),
    [
        ("a + b", "def made(a, b):"),
        ("b + a", "def made(b, a):"),
        ("1", "def made():"),
        ("inputs['x'] + a", "def made(inputs, a):"),
        ("context.step_name", "def made(context):"),
        ("a = 3\na", "def made():"),
        ("a = a + 1\na", "def made(a):"),
        ("df = df.dropna()\ndf", "def made(df):"),
        ("a += 1\na", "def made(a):"),
        ("[a for a in b]", "def made(b):"),
        ("[x for x in a if x > b]", "def made(a, b):"),
        ("{b: v for b, v in a}", "def made(a):"),
        ("[y := b for q in a]\ny", "def made(b, a):"),
        ("[a := 1 for q in b]\na", "def made(b):"),
        ("lambda a: a + b", "def made(b):"),
        ("lambda x=a: x", "def made(a):"),
        ("def h(x):\n    return x + a\nh(3)", "def made(a):"),
        ("def h(a):\n    return a\nh(3)", "def made():"),
        ("def h(x: a): ...\nh(b)", "def made(a, b):"),
        ("class K:\n    y = a\nK.y", "def made(a):"),
        ("class K:\n    a = 1\nK.a", "def made():"),
        ("import a\na", "def made():"),
        ("from x import b as a\na", "def made():"),
        ("global a\na", "def made():"),
        ("def h():\n    global a\n    return a\nh()", "def made():"),
        ("x: a = 3\nx", "def made():"),
        ("f'{a!r:{b}}'", "def made(a, b):"),
        ("for a in b:\n    pass\na", "def made(b):"),
        ("with open('x') as a:\n    a\nb", "def made(b):"),
        ("try:\n    a\nexcept ValueError as b:\n    b", "def made(a):"),
        ("match a:\n    case {'x': b}:\n        b", "def made(a):"),
        ("del a", "def made(a):"),
        ("x = [a, *b]\nprint(x)", "def made(a, b):"),
        ("loader + 1", "def made(load_orders):\n    loader = load_orders"),
        ("await a.x()", "async def made(a):"),
        ("async with a as q:\n    q", "async def made(a):"),
        ("async for q in a:\n    q", "async def made(a):"),
        ("[q async for q in a]", "async def made(a):"),
        ("async def h():\n    await a\nh", "def made(a):"),
        ("if a:\n    return 1\nreturn b", "def made(a, b):"),
        ("if (n := len(a)) > 1:\n    n\nn", "def made(a):"),
        ("[a := 1, a]", "def made():"),
        ("[m for m in b if (a := m)]\na", "def made(b):"),
        ("[[a for a in row] for row in b]", "def made(b):"),
        ("[row for row in a for a in row]", "def made(a):"),
        ("class K:\n    rows = [x for x in a]\nK", "def made(a):"),
        ("class K:\n    def m(self):\n        return a\nK().m()", "def made(a):"),
        ("class K(a): ...\nK", "def made(a):"),
        ("@a\ndef h(): ...\nh", "def made(a):"),
        (
            "def h():\n    x = 1\n    def g():\n        nonlocal x\n        x = a\n    g()\n    return x\nh()",
            "def made(a):",
        ),
        ("def h():\n    import a\n    return a\nh(b)", "def made(b):"),
        ("def h(*, x: 'a' = b): ...\nh()", "def made(b):"),
        ("x: list[a]\ny: int = b\ny", "def made(b):"),
        ("f'{b}' f\"{[a for a in 'xy']}\"", "def made(b):"),
        ("f'{a=}'", "def made(a):"),
        ("import os.path as a\na", "def made():"),
        ("import a.b\na", "def made():"),
        ("from . import b\nb", "def made():"),
        ("global counter\ncounter += a", "def made(a):"),
        ("lambda *a, **b: (a, b)", "def made():"),
        ("x = a if b else 0\nx", "def made(a, b):"),
        ("a.x = 1\nb[0] = 2", "def made(a, b):"),
        ("(a, b) = 1, 2\na", "def made():"),
        ("a, *rest = a\nrest", "def made(a):"),
        ("try:\n    pass\nexcept* ValueError as a:\n    a\nb", "def made(b):"),
        ("match b:\n    case [a, *_]:\n        a", "def made(b):"),
        ("match b:\n    case a.X:\n        1", "def made(b, a):"),
        ("assert a, b", "def made(a, b):"),
        ("return await a", "async def made(a):"),
        ("sum([await x for x in a])", "async def made(a):"),
    ],
)
def test_free_names_that_are_steps_become_parameters(source, signature):
    assert function_of(source).startswith(signature)


def test_depends_wins_over_what_is_read():
    cell = read_cell("a + 1", name="made", known=STEPS.get, depends=("a", "b"), first_line=2)

    assert ast.unparse(cell.tree).startswith("def made(a):")
    assert cell.depends_on == ("b",)


def test_a_step_that_depends_leaves_out_stays_a_global():
    assert function_of("a(b)", depends=("b",)).startswith("def made(b):")


def test_the_last_expression_is_the_value_and_keeps_its_line():
    tree = read_cell("x = 1\n\nx + a", name="made", known=STEPS.get, first_line=2).tree
    returned = tree.body[0].body[-1]

    assert isinstance(returned, ast.Return)
    assert returned.lineno == 4


@pytest.mark.parametrize("source", ["x = a", "for x in a:\n    print(x)"])
def test_statements_without_a_value_say_so(source):
    assert read_cell(source, name="made", known=STEPS.get).valueless


@pytest.mark.parametrize(
    ("source", "function"),
    [
        ("def one(context): ...", "one"),
        ("'''About.'''\nimport math\nK = 3\nclass C: ...\ndef helper(): ...\nasync def two(context, a): ...", "two"),
        ("try:\n    import x\nexcept ImportError:\n    x = None\ndef f(): ...", "f"),
        ("def f(context): ...\nK = 3", "f"),
        ("@step(depends_on=[a])\ndef f(context): ...", "f"),
    ],
)
def test_a_cell_of_definitions_makes_its_last_function_the_step(source, function):
    cell = read_cell(source, name=None, known=STEPS.get)

    assert (cell.function, cell.name, cell.statements) == (function, function, False)


@pytest.mark.parametrize(
    "source",
    [
        "def helper(x): ...\nhelper(a)",
        "def helper(x): ...\nrows = helper(a)",
        "def helper(x): ...\nrows = helper(inputs)",
        "def helper(x): ...\nfor x in []: ...",
        "def helper(x): ...\nreturn 1",
        "def helper(x): ...\nx = await helper(1)",
    ],
)
def test_a_cell_that_works_after_its_helpers_is_a_cell_of_statements(source):
    assert read_cell(source, name="made", known=STEPS.get).statements


@pytest.mark.parametrize(
    ("source", "name", "said"),
    [
        ("a + b", None, "needs a name"),
        ("", "made", "is empty"),
        ("# only a comment", "made", "is empty"),
        ("x = 1\nyield a", "made", "line 3: a step cell cannot yield"),
        ("made + 1", "made", "the name it gets itself"),
        ("1", "not-a-name", "becomes a Python name"),
        ("x = 1\n!ls", "made", "line 3: '!ls' is a magic or shell line"),
        ("if a:\n    %time b", "made", "line 3: '%time b' is a magic or shell line"),
        ("files = !ls", "made", "line 2: 'files = !ls' is a magic or shell line"),
        ("a?", "made", "line 2: 'a?' is a magic or shell line"),
        ("%%time\na", "made", "line 2: '%%time' is a magic or shell line"),
    ],
)
def test_a_cell_that_is_no_step_says_why(source, name, said):
    with pytest.raises(DefinitionError) as caught:
        read_cell(source, name=name, known=STEPS.get, first_line=2)

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("x = 1\ndef f(:\n", 3),
        ("x = (1,\ny = 2", 2),
        ("x = 1\nglobal x\nx", 3),
        ("nonlocal q", 2),
        ("a\n  b", 3),
        ("class K:\n    return 1", 3),
        ("x = 1\nfrom os import *\nx", 3),
    ],
)
def test_a_syntax_error_has_the_line_of_the_cell_and_its_text(source, line):
    with pytest.raises(SyntaxError) as caught:
        read_cell(source, name="made", known=STEPS.get, first_line=2)

    assert caught.value.lineno == line
    assert caught.value.text


def test_percent_at_the_start_of_a_continued_line_is_no_magic():
    assert function_of("x = (7\n% a)\nx").startswith("def made(a):")


def test_a_text_that_looks_like_a_magic_is_a_text():
    assert function_of("q = '''\n%time\n!ls\n'''\nq + a").startswith("def made(a):")


@pytest.mark.parametrize("name", ["class", "None", "lambda"])
def test_a_word_of_python_names_no_step(name):
    with pytest.raises(DefinitionError, match=f"a step cannot be called '{name}': it is a word of Python itself"):
        read_cell("1", name=name, known=STEPS.get, depends=None, first_line=2)
