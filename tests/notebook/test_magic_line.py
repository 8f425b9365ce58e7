import pytest

from cerebelum_nb.notebook.arguments import (
    Option,
    UsageError,
    inputs_expression,
    read_line,
    seconds,
    split,
    whole,
)

OPTIONS = (
    Option("--executor"),
    Option("--depends", "names"),
    Option("--strategy", "map"),
    Option("--detach", "flag"),
    Option("--label", "names", repeats=True),
)


def read(line):
    return read_line(line, OPTIONS, "Usage: x")


@pytest.mark.parametrize(
    ("line", "pieces"),
    [
        ("", []),
        ("wf", ["wf"]),
        ('wf {"a": 1, "b": [1, 2]}', ["wf", '{"a": 1, "b": [1, 2]}']),
        ('wf {"a": "x --detach } y"} z', ["wf", '{"a": "x --detach } y"}', "z"]),
        ("wf {'a': \"it's\"}", ["wf", "{'a': \"it's\"}"]),
        (r"wf 'a\' b' c", ["wf", r"'a\' b'", "c"]),
        ("wf '''a ' b''' c", ["wf", "'''a ' b'''", "c"]),
        ("wf {'open: 1 --x", ["wf", "{'open: 1 --x"]),
        ("a, b", ["a,", "b"]),
        ("f(a , b) c", ["f(a , b)", "c"]),
    ],
)
def test_pieces_end_at_spaces_outside_of_quotes_and_brackets(line, pieces):
    assert split(line) == pieces


@pytest.mark.parametrize(
    "line",
    [
        'wf {"a": 1} --detach --strategy a=local,default=distributed',
        '--detach wf --strategy a=local,default=distributed {"a": 1}',
        '--strategy=a=local,default=distributed --detach wf {"a": 1}',
        'wf --strategy "a = local, default = distributed" {"a": 1} --detach',
        'wf --strategy a=local, default=distributed --detach {"a": 1}',
    ],
)
def test_options_may_stand_anywhere(line):
    args = read(line)

    assert args.words[0] == "wf"
    assert args.rest == '{"a": 1}'
    assert args.maps["--strategy"] == {"a": "local", "default": "distributed"}
    assert args.flags == {"--detach"}


def test_an_expression_of_several_pieces_is_one_text():
    assert read("wf dict(a=1) | more if x else  {}").rest == "dict(a=1) | more if x else {}"


def test_a_minus_is_no_option():
    assert read("wf -1 - -x").rest == "-1 - -x"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("wf --exeuctor local", "unknown option --exeuctor. Did you mean '--executor'?"),
        ("wf --executor", "--executor needs a value"),
        ("wf --executor --detach", "--executor needs a value"),
        ("wf --executor=", "--executor needs a value"),
        ("wf --executor local --executor local", "--executor stands twice"),
        ("wf --detach=1", "--detach takes no value"),
        ("wf --strategy local", "pairs like step=local"),
        ("wf --strategy a=local,a=distributed", "names 'a' twice"),
        ("wf --executor 'local", "a quote that is never closed"),
    ],
)
def test_a_wrong_line_says_what_is_wrong_and_how_it_is_used(line, said):
    with pytest.raises(UsageError) as caught:
        read(line)

    assert said in str(caught.value)
    assert "Usage: x" in str(caught.value)


@pytest.mark.parametrize(
    "line", ["wf --label a --label b,c", "wf --label a,b --label c", "--label=a --label=b wf --label c"]
)
def test_an_option_that_may_repeat_adds_up(line):
    assert read(line).names["--label"] == ("a", "b", "c")


@pytest.mark.parametrize(
    ("words", "expression"),
    [
        ((), ""),
        (("{'a': 1}",), "{'a': 1}"),
        (("x", "if", "a==b", "else", "y"), "x if a==b else y"),
        (("a=1",), "dict(a=1)"),
        (("who='Ann Lee'", "n=[1, 2]"), "dict(who='Ann Lee', n=[1, 2])"),
        (("dict(a=1)",), "dict(a=1)"),
    ],
)
def test_inputs_on_a_line_are_one_expression_or_pairs(words, expression):
    assert inputs_expression(words, "Usage: x") == expression


@pytest.mark.parametrize("words", [("a=1", "{}"), ("{}", "a=1"), ("a=", "1"), ("a=b", "+", "c"), ("a=",)])
def test_pairs_with_anything_else_are_refused(words):
    with pytest.raises(UsageError, match="Usage: x"):
        inputs_expression(words, "Usage: x")


def test_numbers_are_read_strictly():
    assert (whole("--retries", "3", ""), whole("--retries", None, "")) == (3, None)
    assert (seconds("--timeout", "2.5", ""), seconds("--timeout", "2s", ""), seconds("--timeout", None, "")) == (
        2.5,
        2.0,
        None,
    )
    for wrong in ("-1", "1.0", "x", ""):
        with pytest.raises(UsageError, match="--retries is a whole number"):
            whole("--retries", wrong, "")
    for wrong in ("0", "-1", "nan", "inf", "x", "5 parsecs"):
        with pytest.raises(UsageError, match="--timeout is a number of seconds"):
            seconds("--timeout", wrong, "")
