-- Layout of a data file of the broker. The table meta says which version of it.
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE exchange (
    vhost TEXT, name TEXT, type TEXT, auto_delete INTEGER, internal INTEGER, arguments BLOB,
    PRIMARY KEY (vhost, name)
) WITHOUT ROWID;
CREATE TABLE queue (
    id INTEGER PRIMARY KEY, vhost TEXT, name TEXT, auto_delete INTEGER, arguments BLOB,
    delivered_position INTEGER NOT NULL DEFAULT 0,
    UNIQUE (vhost, name)
);
CREATE TABLE binding (
    vhost TEXT, source TEXT, kind TEXT, destination TEXT, routing_key TEXT, arguments BLOB,
    PRIMARY KEY (vhost, source, kind, destination, routing_key, arguments)
);
CREATE TABLE message (
    id INTEGER PRIMARY KEY, exchange TEXT, routing_key TEXT, properties BLOB, body BLOB
);
CREATE TABLE queue_message (
    queue_id INTEGER, position INTEGER, message_id INTEGER, expires_at REAL,
    deliveries INTEGER NOT NULL DEFAULT 0, acquisitions INTEGER NOT NULL DEFAULT 0,
    redelivered INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (queue_id, position)
) WITHOUT ROWID;
-- What administrators define: users, virtual hosts, policies and so on, each as in RabbitMQ's definitions.
CREATE TABLE definition (
    section TEXT, key TEXT, value TEXT,
    PRIMARY KEY (section, key)
) WITHOUT ROWID;
