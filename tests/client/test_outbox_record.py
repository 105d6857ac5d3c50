"""`outbox.record`: a message is sent if, and only if, the transaction of the application commits (P17)."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import sqlalchemy
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from tests.client.support import message
from tests.support.waiting import WAIT, eventually

from fedora_messaging import api, outbox
from fedora_messaging.client.outbox import table
from fedora_messaging.exceptions import ConfigurationException, OutboxError
from fedora_messaging.message import Message
from fedora_messaging.testing import mock_sends

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.admin import Admin
    from tests.support.brokers import Broker
    from tests.support.postgresql import PostgresServer

    from fedora_messaging.config import LazyConfig

Engine = sqlalchemy.Engine


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path, settings: LazyConfig) -> Iterator[Engine]:
    """The application's database, which the configuration names."""
    if request.param == "sqlite":
        settings["outbox"] = {"path": str(tmp_path / "app.db")}
        made = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'app.db'}")
    else:
        server: PostgresServer = request.getfixturevalue("postgresql")
        settings["outbox"] = {"url": server.url}
        made = sqlalchemy.create_engine(server.url)
    with made.begin() as connection:
        outbox.create_table(connection)
        outbox.create_table(connection)
        connection.execute(sqlalchemy.text("CREATE TABLE builds (id INTEGER)"))
    yield made
    api.close()
    with made.begin() as connection:
        connection.execute(sqlalchemy.text("DROP TABLE builds"))
        connection.execute(sqlalchemy.text(f"DROP TABLE {table.NAME}"))
    made.dispose()


@pytest.fixture
def sending(engine: Engine, broker: Broker, settings: LazyConfig) -> None:
    """A process sends."""
    settings["amqp_url"] = broker.url
    assert api._init_twisted_service().outbox is not None


def numbers(admin: Admin, queue: str) -> list[int]:
    return [json.loads(body)["number"] for body in admin.take(queue)]


def waiting(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(sqlalchemy.text(f"SELECT count(*) FROM {table.NAME}")).scalar_one())


@pytest.mark.usefixtures("sending")
def test_p17_sent_after_the_commit_and_not_after_a_rollback(
    broker: Broker, admin: Admin, queue: str, engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("INSERT INTO builds VALUES (1)"))
        outbox.record(connection, message(queue, 1))
        outbox.record(connection, message(queue, 2))
        # Nothing of it is visible, so nothing can be sent.
        assert waiting(engine) == 0 or engine.dialect.name == "sqlite"
    with pytest.raises(ZeroDivisionError), engine.begin() as connection:
        outbox.record(connection, message(queue, 3))
        raise ZeroDivisionError
    with Session(engine) as session, session.begin():
        outbox.record(session, message(queue, 4))
    eventually(lambda: waiting(engine) == 0)
    assert numbers(admin, queue) == [1, 2, 4]


@pytest.mark.usefixtures("sending")
def test_publishing_goes_by_way_of_the_same_table(
    broker: Broker, admin: Admin, queue: str, engine: Engine
) -> None:
    sent = message(queue, 1)
    api.publish(sent, timeout=WAIT)
    _method, properties, body = eventually(
        lambda: (got := admin.channel.basic_get(queue, auto_ack=True))[0] is not None and got
    )
    assert (properties.message_id, body) == (sent.id, sent._encoded_body)
    eventually(lambda: waiting(engine) == 0)
    usage = api._twisted_service.outbox.store.usage().result(WAIT)
    assert usage == (0, 0, None)


@pytest.mark.usefixtures("sending")
def test_exchange_and_mistakes(broker: Broker, admin: Admin, queue: str, engine: Engine) -> None:
    with engine.begin() as connection:
        with pytest.raises(jsonschema.ValidationError):
            outbox.record(connection, Message(topic="t", body="text"))
        outbox.record(connection, Message(topic=queue, body={"number": 5}), "")
        with mock_sends(Message):
            outbox.record(connection, message(queue, 6))
    eventually(lambda: waiting(engine) == 0)
    assert numbers(admin, queue) == [5]


@pytest.mark.usefixtures("sending")
@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_asynchronous_connection(
    broker: Broker, admin: Admin, queue: str, engine: Engine, settings: LazyConfig
) -> None:
    from sqlalchemy.ext.asyncio import create_async_engine

    async def main() -> None:
        made = create_async_engine(settings["outbox"]["url"])
        async with made.begin() as connection:
            await connection.run_sync(outbox.record, message(queue, 7))
        await made.dispose()

    asyncio.run(main())
    eventually(lambda: waiting(engine) == 0)
    assert numbers(admin, queue) == [7]


def test_sqlite_without_sqlalchemy(
    broker: Broker, admin: Admin, queue: str, tmp_path: Path, settings: LazyConfig, service: None
) -> None:
    """In rollback mode, which the file of an application keeps."""
    path = str(tmp_path / "app.db")
    database = sqlite3.connect(path)
    outbox.create_table(database)
    database.commit()
    settings["outbox"] = {"path": path}
    assert api._init_twisted_service().outbox is not None
    with database:
        outbox.record(database, message(queue, 1))
    with pytest.raises(ZeroDivisionError), database:
        outbox.record(database, message(queue, 2))
        raise ZeroDivisionError
    eventually(lambda: database.execute(f"SELECT count(*) FROM {table.NAME}").fetchone() == (0,))
    assert database.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert numbers(admin, queue) == [1]
    database.close()


def test_without_the_table(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "app.db")
    with pytest.raises(sqlite3.OperationalError, match=table.NAME):
        outbox.record(database, message("nowhere"))
    database.close()


def test_statements_for_migrations() -> None:
    assert all("IF NOT EXISTS" in statement for statement in outbox.statements("sqlite"))
    assert "BYTEA" in outbox.statements("postgresql")[0]
    with pytest.raises(ValueError, match="sqlite or postgresql, not in mysql"):
        outbox.statements("mysql")


@pytest.mark.usefixtures("sending")
@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
def test_p17_database_that_restarts(
    broker: Broker, admin: Admin, queue: str, engine: Engine, postgresql: PostgresServer
) -> None:
    """Sending goes on when it is back; who publishes meanwhile is told, and not with the password."""
    eventually(lambda: api._twisted_service.outbox.sending)
    postgresql.kill()
    try:
        with pytest.raises(OutboxError) as caught:
            api.publish(message(queue, 1), timeout=WAIT)
        assert "canary-password" not in f"{caught.value}{caught.value!r}"
    finally:
        postgresql.start()
    # The pool of the test itself has connections that are gone.
    engine.dispose()
    with engine.begin() as connection:
        outbox.record(connection, message(queue, 2))
    eventually(lambda: waiting(engine) == 0, 2 * WAIT)
    assert numbers(admin, queue) == [2]


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
def test_user_who_may_not_create_tables(
    broker: Broker, engine: Engine, settings: LazyConfig, admin: Admin, queue: str, service: None
) -> None:
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE USER sender"))
        connection.execute(sqlalchemy.text(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table.NAME} TO sender"))
    url = engine.url.set(username="sender").render_as_string(hide_password=False)
    settings["outbox"] = {"url": url}
    try:
        api.publish(message(queue, 1), timeout=WAIT)
        eventually(lambda: waiting(engine) == 0)
    finally:
        api.close()
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("DROP OWNED BY sender"))
            connection.execute(sqlalchemy.text("DROP USER sender"))
    assert numbers(admin, queue) == [1]


def test_url_that_cannot_be_used(settings: LazyConfig) -> None:
    settings["outbox"] = {"url": "mysql+nosuch://user:canary-password@host/db"}
    with pytest.raises(ConfigurationException, match="cannot be used") as caught:
        api.publish(message("nowhere"))
    assert "canary-password" not in f"{caught.value}{settings!r}"


def test_url_from_the_environment(
    settings: LazyConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """For the password; it wins over the file's."""
    monkeypatch.setenv("FEDORA_MESSAGING_OUTBOX_URL", "sqlite://canary")
    settings["outbox"] = {"url": "postgresql://other"}
    with pytest.raises(ConfigurationException, match="cannot be used"):
        api.publish(message("nowhere"))


def everything(error: Any) -> str:
    return f"{error}{error!r}"


def test_unreachable_database_does_not_show_its_password(settings: LazyConfig) -> None:
    settings["outbox"] = {"url": "postgresql+psycopg://user:canary-password@127.0.0.1:1/db"}
    try:
        with pytest.raises((OutboxError, SQLAlchemyError)) as caught:
            api.publish(message("nowhere"), timeout=WAIT)
        assert "canary-password" not in everything(caught.value)
        assert "127.0.0.1" in str(caught.value)
    finally:
        api.close()
