"""The fixtures, where pytest is there: the tests share a server, and no store."""

import pytest

from annals_store import Conflict

servers = set()


@pytest.mark.parametrize("round", [1, 2])
def test_each_test_has_an_empty_store(annals, annals_server, round):
    servers.add(annals_server.url)
    assert len(servers) == 1
    assert annals.count() == 0
    annals.append("order-1", {"eventType": "OrderPlaced"}, aggregate_type="Order", expected="none")
    with pytest.raises(Conflict):
        annals.append("order-1", {"eventType": "OrderPlaced"}, expected="none")
