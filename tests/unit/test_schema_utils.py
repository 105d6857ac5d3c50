"""Avatar URLs for any account name."""

from __future__ import annotations

import hashlib
from urllib.parse import parse_qs, urlsplit

from hypothesis import given, settings
from hypothesis import strategies as st

from fedora_messaging.schema_utils import libravatar_url, user_avatar_url

SETTINGS = settings(derandomize=True, deadline=None, max_examples=100)
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)


@SETTINGS
@given(NAMES, st.integers(), NAMES)
def test_identities_are_hashed_and_options_quoted(identity: str, size: int, default: str) -> None:
    url = libravatar_url(email=identity, size=size, default=default)
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc) == ("https", "seccdn.libravatar.org")
    assert parts.path == f"/avatar/{hashlib.sha256(identity.encode()).hexdigest()}"
    assert parse_qs(parts.query, strict_parsing=True) == {"s": [str(size)], "d": [default]}
    assert url.isascii()


@SETTINGS
@given(NAMES)
def test_account_names_are_not_shown(username: str) -> None:
    url = user_avatar_url(username)
    assert url == libravatar_url(openid=f"http://{username}.id.fedoraproject.org/")
    assert url == user_avatar_url(username, 64, "retro")
    assert urlsplit(url).query == "s=64&d=retro"
