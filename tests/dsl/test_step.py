"""What a function must be to become a step, and what the step knows of it."""

import functools
import pickle

import pytest

from cerebelum_nb import DefinitionError, NotYet, StepMetadata, step
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


def test_a_pickled_step_is_its_function():
    assert pickle.loads(pickle.dumps(step(pickle.dumps, name="dump", depends_on=[]))) is pickle.dumps


def test_partials_and_lambdas_are_welcome_once_they_have_a_name():
    named = step(name="third")(functools.partial(pow, 2))
    short = step(name="short")(lambda context, inputs: 1)

    assert (named.name, short.name) == ("third", "short")


def generator(context):
    yield 1


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
        (lambda: step(colour="red")(len), "@step has no option 'colour'. It takes name, executor and depends_on."),
    ],
)
def test_what_cannot_be_a_step_is_refused_in_one_clear_line(make, message):
    with pytest.raises(DefinitionError) as refused:
        make()

    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_option_of_a_later_version_says_so():
    with pytest.raises(NotYet, match=r"@step\(retries=...\) comes with a later version"):
        step(retries=3)


def test_asking_a_step_for_its_values_methods_says_where_the_value_is():
    @step
    def table(context): ...

    with pytest.raises(AttributeError, match=r"its value is in run.outputs\['table'\]"):
        table.head()
