"""Helpers for the accessors of schema classes."""

_AVATARS = "https://seccdn.libravatar.org/avatar/"


def user_avatar_url(username: str, size: int = 64, default: str = "retro") -> str:
    """Return the avatar URL of a Fedora account.

    Args:
        username: Account name.
        size: Edge length in pixels.
        default: Libravatar's name of the picture shown when the user has none.
    """
    return libravatar_url(openid=f"http://{username}.id.fedoraproject.org/", size=size, default=default)


def libravatar_url(
    email: str | None = None, openid: str | None = None, size: int = 64, default: str = "retro"
) -> str:
    """Return the avatar URL for an e-mail address or, without one, for an OpenID.

    Raises:
        ValueError: Neither an address nor an OpenID is given.
    """
    identity = email or openid
    if not identity:
        raise ValueError("You must provide either the email or the openid.")
    # Most programs need neither; the first one loads OpenSSL.
    import hashlib
    from urllib.parse import urlencode

    digest = hashlib.sha256(identity.encode("utf-8")).hexdigest()
    return f"{_AVATARS}{digest}?{urlencode({'s': size, 'd': default})}"
