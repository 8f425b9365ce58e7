"""How a project says that its steps go to a served Core."""

import asyncio

import pytest

from cerebelum_nb import PlanError
from cerebelum_nb.config import Settings, from_environment
from cerebelum_nb.executors.crew import Crew
from cerebelum_nb.model.pools import Pool

TABLE = """
[tool.cerebelum]
core_url = "tls://10.0.0.5:7801"
core_pass = "keys/core.pass"
[tool.cerebelum.pools.gpu-worker-pool]
core = "tls://gpu:7801"
pass = "keys/gpu.pass"
[tool.cerebelum.pools.partner]
core = "tls://partner:7801"
trust = "untrusted"
"""


def test_the_file_names_cores_and_passes_beside_it(tmp_path):
    (tmp_path / "pyproject.toml").write_text(TABLE)

    found = from_environment(tmp_path)

    assert (found.core_url, found.core_pass) == ("tls://10.0.0.5:7801", str(tmp_path / "keys/core.pass"))
    assert dict(found.pools) == {
        "gpu-worker-pool": Pool(
            "gpu-worker-pool", 0, core="tls://gpu:7801", credentials=str(tmp_path / "keys/gpu.pass")
        ),
        "partner": Pool("partner", 0, core="tls://partner:7801", trust="untrusted"),
    }


def test_a_pool_may_be_given_again_as_it_is():
    pool = Pool("big", 0, core="tls://host:1", credentials="p")

    assert Settings(pools={"big": pool}).pools["big"] == pool
    assert Settings(pools={"big": {"core": "tls://host:1", "pass": "p"}}).pools["big"] == pool


def test_what_workers_of_others_would_not_get_is_refused_with_what_sets_it():
    with pytest.raises(PlanError) as refused:
        Settings(pools={"big": {"core": "tls://host:1", "env": {"OMP_NUM_THREADS": "1"}}})

    assert str(refused.value) == (
        "Settings(pools=...): env of pool 'big' does not reach its workers, which are started elsewhere: set it there, "
        "like OMP_NUM_THREADS=... cerebelum worker --core host:1 --pool big"
    )


def test_workers_that_a_served_core_would_not_get_are_refused_with_what_adds_them():
    with pytest.raises(PlanError) as refused:
        Settings(pools={"big": {"core": "tls://host:1", "slots": 3}})

    assert str(refused.value) == (
        "Settings(pools=...): slots of pool 'big' do nothing, since its workers are started elsewhere: leave them out, "
        "and add workers there with cerebelum worker --core host:1 --pool big --slots 3"
    )


@pytest.mark.parametrize("key", ["pass", "core"])
def test_what_is_no_text_is_refused(key):
    with pytest.raises(PlanError, match=f"{key} = 7 of pool 'big' is not the"):
        Settings(pools={"big": {"core": "tls://host:1", key: 7}})


def test_the_limit_of_what_is_sent_is_a_setting(tmp_path):
    (tmp_path / "pyproject.toml").write_text(TABLE.replace("core_url", "transfer_mib = 7\ncore_url"))
    crew = Crew(from_environment(tmp_path), asyncio.new_event_loop(), lambda: None)

    assert [crew.executor(name)._limit_nbytes for name in ("core", "gpu-worker-pool", "processes")] == [7 << 20] * 3
    assert Settings().transfer_mib == 1024
    crew._loop.close()
