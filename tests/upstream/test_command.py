"""The command that serves programs of the SDK."""

from click.testing import CliRunner

from cerebelum_nb.cli.core_serve import core


def test_the_command_says_in_one_line_what_it_cannot_do():
    def said(*args):
        result = CliRunner().invoke(core, ["serve", "--upstream-port", "0", *args])
        assert result.exit_code != 0
        return result.output.splitlines()[-1]

    assert said("--listen", "127.0.0.1:1") == (
        "Error: --listen and --upstream-port serve different programs: start a command for each"
    )
    assert said("--upstream-host", "0.0.0.0").endswith("or say --force where the network is yours alone.")


def test_an_answer_that_reaches_nobody_says_so_in_one_line():
    def said(url):
        result = CliRunner().invoke(core, ["approve", "x", "--core", url])
        assert result.exit_code != 0
        return result.output

    assert said("grpc://127.0.0.1:1").startswith(
        "Error: there is no Core at grpc://127.0.0.1:1, or it does not answer ("
    )
    assert said("127.0.0.1:1") == said("grpc://127.0.0.1:1")
    assert said("localhost").startswith(
        "Error: Core 'localhost': a Core of Cerebelum's makers is written grpc://host:port"
    )
    assert said("http://localhost:1").startswith(
        "Error: Core 'http://localhost:1': a Core is written host:port or grpc://"
    )
