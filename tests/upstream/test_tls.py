"""A Core of Cerebelum's makers that has TLS, as behind a load balancer, or that asks who comes."""

import contextlib

import grpc
import pytest

from cerebelum_nb.errors import ExecutorError, PlanError
from cerebelum_nb.executors.upstream import UpstreamExecutor
from cerebelum_nb.model.pools import plain_to, pool_of
from cerebelum_nb.upstream.gate import Gate
from tests.executors.remote_kit import cell, run
from tests.upstream.certificates import Authority
from tests.upstream.stand_in import StandIn

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "authority.pem")


@contextlib.asynccontextmanager
async def core(leaf=None, who=None):
    """A stand-in, with TLS where it has a key and a certificate; `who` signs those of who may come."""
    credentials = leaf and grpc.ssl_server_credentials([leaf], who and who.path.read_bytes(), who is not None)
    made = await StandIn().start(credentials=credentials)
    try:
        yield made
    finally:
        await made.stop()


async def why_not(url, credentials):
    """What is said where there is no way in."""
    with pytest.raises(ExecutorError) as refused:
        await enter(url, credentials)
    text = str(refused.value)
    assert "\n" not in text
    return text.replace(url.partition("://")[2], "CORE")


async def enter(url, credentials):
    gate = Gate(url, "theirs", str(credentials))
    try:
        await gate.open()
    finally:
        await gate.close()


@pytest.fixture
def folder(tmp_path, authority):
    """Certificates as the SDK's makers call them."""
    made = tmp_path / "certs"
    made.mkdir()
    key, certificate = authority.leaf("client")
    for name, data in {"ca.crt": authority.path.read_bytes(), "client.key": key, "client.crt": certificate}.items():
        (made / name).write_bytes(data)
    return made


async def test_steps_run_through_a_core_that_asks_who_comes(authority, folder):
    async with core(authority.leaf(), authority) as there:
        made = UpstreamExecutor(url=there.url, credentials=str(folder), slots=1, name="theirs")
        try:
            await made.start()
            assert (await run(made, cell("def one(n):\n    return n")["one"], 7)).value == 7
        finally:
            await made.close()


async def test_a_core_is_trusted_that_the_authority_signed_which_was_given(authority, folder):
    async with core(authority.leaf()) as there:
        await enter(there.url, authority.path)
        (folder / "client.key").unlink()
        (folder / "client.crt").unlink()
        await enter(there.url, folder)
        await enter(there.url.replace("127.0.0.1", "localhost"), authority.path)


async def test_a_core_is_trusted_that_this_system_trusts(authority, monkeypatch):
    async with core(authority.leaf()) as there:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
        await enter(there.url, "")


async def test_a_core_that_cannot_be_trusted_is_not_spoken_to(authority, tmp_path):
    stranger = (
        "the certificate of Core grpcs://CORE is signed by somebody who is not trusted here: give theirs as `pass`"
    )
    async with core(authority.leaf()) as there:
        assert (await why_not(there.url, "")).startswith(stranger)
        assert (await why_not(there.url, Authority(tmp_path / "another.pem").path)).startswith(stranger)
        assert not there.heard
    async with core(authority.leaf("example.org")) as there:
        assert await why_not(there.url, authority.path) == (
            "the certificate of Core grpcs://CORE is for another host: use the name that is in it"
        )
    async with core(authority.leaf(days=-1)) as there:
        assert await why_not(there.url, authority.path) == (
            "the certificate of Core grpcs://CORE has expired: it needs a new one there"
        )


async def test_who_comes_without_a_certificate_or_with_one_that_fits_nothing_is_told_what_to_give(authority, folder):
    async with core(authority.leaf(), authority) as there:
        asks = (
            "Core grpcs://CORE hangs up. If it wants to see a certificate, give a folder with ca.crt, client.crt and "
            "client.key as `pass` of its pool"
        )
        assert await why_not(there.url, authority.path) == asks
        (folder / "client.key").write_bytes(authority.leaf("another")[0])
        assert await why_not(there.url, folder) == (
            "the certificates for Core grpcs://CORE are of no use: see that client.key is for client.crt"
        )


async def test_the_wrong_scheme_is_named(authority):
    async with core() as plain, core(authority.leaf()) as secure:
        said = await why_not(plain.url.replace("grpc:", "grpcs:"), authority.path)
        assert said == "what listens at grpcs://CORE has no TLS: write grpc://CORE if it is that Core"
        said = await why_not(secure.url.replace("grpcs:", "grpc:"), "")
        assert said == "Core grpc://CORE hangs up. If it has TLS, write grpcs://CORE"


async def test_files_that_are_none_are_named_before_anything_is_sent(tmp_path, folder):
    (tmp_path / "letter.txt").write_text("Dear Core")
    (folder / "client.key").unlink()
    for given, why in {
        tmp_path / "nowhere.pem": f"cannot be read: {str(tmp_path / 'nowhere.pem')!r}: No such file or directory",
        tmp_path / "letter.txt": "letter.txt' is no certificate or key: such a file has PEM in it",
        folder: "client.key': No such file or directory",
    }.items():
        assert why in await why_not("grpcs://127.0.0.1:1", given)


HERE = [
    "grpc://localhost:9090",
    "grpc://127.3.2.1:9090",
    "grpc://[::1]:9090",
    "grpcs://core.example.org:9090",
    "",
    "tls://h:1",
]


@pytest.mark.parametrize("url", HERE)
async def test_nothing_is_said_of_a_way_that_nobody_can_listen_on(url):
    assert plain_to(url) == ""


@pytest.mark.parametrize("host", ["core.example.org", "10.0.0.5", "[fe80::1]", "localhost.example.org", "0.0.0.0"])
async def test_whoever_goes_to_another_host_without_tls_is_told_what_others_can_do_there(host):
    assert plain_to(f"grpc://{host}:9090").startswith(
        f"grpc://{host}:9090 is reached without encryption: whoever is on the way can read the names of steps, and "
        f"hold them up or let them begin. Write grpcs://{host}:9090"
    )


@pytest.mark.parametrize(
    "core",
    ["grpc://host", "grpc://", "grpc://host:x", "grpc://:9090", "grpcs://host:0", "grpc://host:1/x", "grpc://::1:1"],
)
async def test_an_address_that_is_none_is_refused(core):
    with pytest.raises(PlanError, match="is written grpc://host:port, or grpcs:// with TLS"):
        pool_of("theirs", {"slots": 1, "core": core}, "here")
