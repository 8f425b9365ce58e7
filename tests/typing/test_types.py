"""Type checkers see what a decorated step takes and gives, and that it is not its value."""

import re
from pathlib import Path

from mypy import api

SAMPLE = Path(__file__).with_name("sample.py")
LIMIT = "inputs: dict[str, int], limit: int ="
COROUTINE = "typing.Coroutine[Any, Any, list[str]]"
STEP = "cerebelum_nb.dsl.step.StepMetadata"
CONTEXT = "cerebelum_nb.context.Context"


def test_mypy_sees_a_steps_parameters_and_result(tmp_path):
    out, err, _ = api.run(
        ["--strict", "--config-file=", f"--cache-dir={tmp_path}", "--follow-imports=silent", str(SAMPLE)]
    )

    told = re.findall(r"sample\.py:(\d+): (?:error: (?!Value of).*\[([a-z-]+)\]|note: Revealed type is \"(.*)\")", out)
    lines = SAMPLE.read_text("utf-8").splitlines()
    seen = [(lines[int(line) - 1].split("  #")[0].strip(), code or kind) for line, code, kind in told]
    assert seen == [
        ("reveal_type(made.name)", "str"),
        ("reveal_type(load)", f"{STEP}[[context: {CONTEXT}, {LIMIT}], {COROUTINE}]"),
        ("reveal_type(count)", f"{STEP}[[context: {CONTEXT}, load: list[str]], int]"),
        ('reveal_type(await load(context, {"n": 1}))', "list[str]"),
        ('reveal_type(count(context, load=["a"]))', "int"),
        ("reveal_type(same(context))", "str"),
        ("count(context, load=3)", "arg-type"),
        ("load(context)", "call-arg"),
        ('load(context, {"n": 1}, limit="x")', "arg-type"),
        ("load.head()", "attr-defined"),
        ('@step(retries="3")', "call-overload"),
        ('@step(retries="3")', "untyped-decorator"),
        ("reveal_type(flow.name)", "str"),
    ], out + err
