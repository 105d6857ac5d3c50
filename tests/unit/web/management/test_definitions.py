"""Exports as files, and what imports must be."""

from __future__ import annotations

import pytest
from tests.unit.web.management.support import new_call

from fedora_messaging.web.management import definitions
from fedora_messaging.web.management.call import Answer
from fedora_messaging.web.management.errors import RequestError


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("rabbit_2024-01-31.json", "rabbit_2024-01-31.json"),
        ('a"; x=y\r\nset-cookie: z', "a%22%3B%20x%3Dy%0D%0Aset-cookie%3A%20z"),
        ("é/..", "%C3%A9%2F.."),
    ],
)
def test_the_name_of_a_file_does_not_end_its_header(name: str, written: str) -> None:
    answer = definitions.export_all(new_call(query={"download": name}))
    assert isinstance(answer, Answer)
    assert answer.headers == {"content-disposition": f"attachment; filename={written}"}
    assert "queues" in answer.body


def test_without_a_name_it_is_no_file() -> None:
    assert "queues" in definitions.export_all(new_call(query={"download": ""}))


def test_virtual_hosts_that_do_not_exist() -> None:
    with pytest.raises(RequestError) as caught:
        definitions.export_vhost(new_call(path={"vhost": "nov"}))
    assert (caught.value.status, caught.value.body["reason"]) == (400, "vhost_not_found")
