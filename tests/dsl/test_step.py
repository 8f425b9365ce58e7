"""What a function must be to become a step, and what the step knows of it."""

import functools
import pickle

import pytest

from cerebelum_nb import DefinitionError, PlanError, StepMetadata, step, workflow
from cerebelum_nb.model.workflow import Parameter


def test_a_bare_decorator_takes_the_functions_name_and_reads_its_parameters():
    @step
    async def score(context, inputs, load, *, limit=3, **rest):
        return load

    assert (score.name, score.executor, score.depends_on) == ("score", "auto", ["load", "limit"])
    assert score.definition.parameters == (
        Parameter("context", "context"),
        Parameter("inputs", "inputs"),
        Parameter("load", "step"),
        Parameter("limit", "step", keyword=True, optional=True),
    )


def test_a_step_is_still_the_plain_function_it_was():
    @step(executor="distributed")
    def double(context, inputs):
        """Twice."""
        return inputs * 2

    assert double(None, 21) == 42
    assert (double.__name__, double.__doc__) == ("double", "Twice.")


def test_a_decorated_step_can_be_decorated_again():
    @step(executor="local")
    @step
    def a(context): ...

    assert isinstance(a, StepMetadata)
    assert a.executor == "local"


def test_a_step_decorated_again_keeps_what_is_not_said_again():
    first = step(name="load", executor="distributed", depends_on=["x"], retries=2)(lambda context: 1)
    second = step(first)

    assert second.definition == first.definition
    assert step(executor="local")(first).options.retries == 2


def test_a_pickled_step_is_its_function():
    assert pickle.loads(pickle.dumps(step(pickle.dumps, name="dump", depends_on=[]))) is pickle.dumps


def test_partials_and_lambdas_are_welcome_once_they_have_a_name():
    named = step(name="third")(functools.partial(pow, 2))
    short = step(name="short")(lambda context, inputs: 1)

    assert (named.name, short.name) == ("third", "short")


def generator(context):
    yield 1


class Yielding:
    def __call__(self, context):
        yield 1


class Thing:
    def method(self, context, inputs):
        return inputs

    @classmethod
    def of_the_class(cls, context): ...

    @staticmethod
    def plain(context, inputs):
        return inputs

    async def __call__(self, context, inputs):
        return inputs


def defaults_before_the_slash(context, load=1, /): ...


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: step(lambda context: 1), "this step has no name of its own: give it one, @step(name='...')"),
        (lambda: step(generator), "step 'generator' uses yield: a step returns its value once; return a list instead"),
        (lambda: step(int), "@step goes on a function, not on <class 'int'>"),
        (lambda: step(name="default")(len), "a step cannot be called 'default'"),
        (lambda: step(name="<img src=x>")(len), "'<img src=x>' cannot name a step"),
        (lambda: step(name="a\u202eb")(len), r"'a\u202eb' cannot name a step"),
        (lambda: step(name="x" * 81)(len), "cannot name a step: 1 to 80 letters"),
        (lambda: step(name=7)(len), "a step's name is text, not 7"),
        (lambda: step(executor=None)(generator.__class__), "@step goes on a function"),
        (lambda: step(name="n", executor=3)(lambda context: 1), "executor=3 is not a name like 'local'"),
        (lambda: step(name="n", depends_on="ab")(lambda context: 1), "depends_on is a list of step names, got 'ab'"),
        (lambda: step(name="n", depends_on=3)(len), "step 'n': depends_on is a list of step names, got 3"),
        (lambda: step(name="n", depends_on=["a", 3])(len), "depends_on is a list of step names, got ['a', 3]"),
        (lambda: step(name="n", depends_on=[""])(len), "depends_on is a list of step names, got ['']"),
        (lambda: step(name="n", executor="a\nb")(len), r"executor='a\nb' is not a name like 'local'"),
        (lambda: step(name="")(len), "'' cannot name a step"),
        (lambda: step(name="a\0b")(len), r"'a\x00b' cannot name a step"),
        (lambda: step(name="a\ud800")(len), r"'a\ud800' cannot name a step"),
        (lambda: step(name="\U0001f600")(len), r"'\U0001f600' cannot name a step"),
        (lambda: step(name="a\u200db")(len), r"'a\u200db' cannot name a step"),
        (lambda: step(name="a\ufe0f")(len), r"'a\ufe0f' cannot name a step"),
        (lambda: step(name="a\nb")(len), r"'a\nb' cannot name a step"),
        (lambda: step(name=" a")(len), "' a' cannot name a step"),
        (lambda: step(name="x" * 10_000)(len), "cannot name a step: 1 to 80 letters"),
        (lambda: step(name="inputs")(len), "a step cannot be called 'inputs'"),
        (lambda: step(name="context")(len), "a step cannot be called 'context'"),
        (lambda: step(max), "step 'max': its parameters cannot be read"),
        (lambda: step(name="y")(Yielding()), "step 'y' uses yield"),
        (lambda: step(Thing()), "this step has no name of its own"),
        (lambda: step(functools.partial(pow, 2)), "this step has no name of its own"),
        (lambda: step(Thing.method), "step 'method' is a method: nobody passes its 'self'. Make it a staticmethod"),
        (lambda: step(vars(Thing)["of_the_class"]), "a classmethod cannot be a step: nobody passes the class"),
        (lambda: step(defaults_before_the_slash), "parameter 'load' has a default and stands before '/'"),
        (
            lambda: step(colour="red")(len),
            "@step has no option 'colour'. It takes name, executor, depends_on, retries,",
        ),
    ],
)
def test_what_cannot_be_a_step_is_refused_in_one_clear_line(make, message):
    with pytest.raises(DefinitionError) as refused:
        make()

    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("function", "is_async"),
    [
        (Thing().method, False),
        (Thing().of_the_class, False),
        (vars(Thing)["plain"], False),
        (Thing.plain, False),
        (Thing(), True),
        (functools.partial(Thing.plain), False),
        (len, False),
        (functools.lru_cache(Thing.plain), False),
    ],
)
def test_whatever_can_be_called_with_plain_parameters_can_be_a_step(function, is_async):
    made = step(name="any")(function)

    assert (made.definition.is_async, made.definition.name) == (is_async, "any")


@pytest.mark.parametrize("name", ["größe", "日本", "हिन्दी", "שלום", "load-2", "a/b", "a b", "x" * 80])
def test_names_may_be_written_in_any_script(name):
    assert step(name=name)(lambda context: 1).name == name


def test_two_ways_to_write_one_accented_letter_are_one_name():
    composed, apart = "caf\u00e9", "cafe\u0301"
    first = step(name=composed)(lambda context: 1)
    second = step(name=apart)(lambda context: 2)
    reads = step(name="reads", depends_on=[apart])(lambda context: 3)

    @workflow
    def twins(wf):
        wf.timeline(first >> second)

    assert (first.name, second.name, reads.depends_on) == (composed, composed, [composed])
    with pytest.raises(PlanError, match="two steps called 'caf\u00e9'"):
        twins.validate()


def test_an_unknown_option_names_its_nearest():
    with pytest.raises(DefinitionError, match=r"@step has no option 'timeuot'. Did you mean 'timeout'\?"):
        step(timeuot=3)


def test_a_step_tells_its_parameters_as_the_sdk_does():
    @step
    async def ship(context, inputs, load, price=1): ...

    assert (ship.dependencies, ship.parameters) == (["load", "price"], ["context", "inputs", "load", "price"])
    assert (ship.has_context, ship.has_inputs) == (True, True)


def test_asking_a_step_for_its_values_methods_says_where_the_value_is():
    @step
    def table(context): ...

    with pytest.raises(AttributeError, match=r"its value is in run.outputs\['table'\]"):
        table.head()


def test_a_function_with_any_keywords_reads_what_it_depends_on():
    @step(depends_on=["north", "south"])
    def total(context, south, **sales): ...

    made = total.definition
    assert [(p.name, p.keyword) for p in made.parameters] == [("context", False), ("south", False), ("north", True)]
    assert made.depends_on == ("south", "north")


@pytest.mark.parametrize("undo", [print, lambda *a: None, lambda **kw: None])
def test_what_undoes_a_step_names_all_that_it_takes(undo):
    with pytest.raises(
        DefinitionError, match="takes any of context, result, inputs, outcome and results .* instead of"
    ):
        step(name="pay", compensate=undo)(lambda context: 1)


def test_what_undoes_a_step_does_not_yield():
    def undo(context):
        yield 1

    with pytest.raises(DefinitionError, match="^what undoes step 'pay' uses yield: write it without$"):
        step(name="pay", compensate=undo)(lambda context: 1)
